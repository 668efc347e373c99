/** The reconciler against a stub API server that stores applied objects. The client is the real one, over TLS. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { after, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { close, createApiServer, listen } from '../../test/support/api-server.js';
import { Compiler } from '../compile/compile.js';
import { objectKey } from '../objects/object-key.js';
import type { GatewayObject, MeshObject } from '../objects/objects.js';
import { waypointDefaults } from './defaults.js';
import { WaypointReconciler } from './reconciler.js';

const closers: (() => void)[] = [];
after(() => closers.forEach((close) => close()));

interface Stored {
  readonly metadata: { readonly name: string; uid?: string; readonly ownerReferences?: readonly object[] };
  spec?: Record<string, unknown>;
}

/** Objects by path. An apply replaces the object by the body. */
class FakeApi {
  readonly objects = new Map<string, Stored>();
  readonly calls: string[] = [];
  /** Of all requests, also of reads. */
  readonly paths = new Set<string>();
  /** Error responses, status and message, by path suffix. */
  readonly refusals = new Map<string, readonly [number, string]>();
  readonly #watches = new Map<string, Set<ServerResponse>>();
  readonly server = createApiServer((request, response) => {
    const url = new URL(request.url ?? '', 'https://x');
    const path = url.pathname;
    this.paths.add(path);
    const method = request.method ?? '';
    const answer = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    const isList = /\/(serviceaccounts|services|deployments|horizontalpodautoscalers)$/.test(path);
    if (isList && url.searchParams.get('watch') === 'true') {
      const watches = this.#watches.get(path) ?? new Set();
      this.#watches.set(path, watches.add(response));
      response.on('close', () => watches.delete(response));
      response.writeHead(200, { 'content-type': 'application/json' });
      return response.flushHeaders();
    }
    if (isList) return answer(200, { metadata: { resourceVersion: '1' }, items: [] });
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const name = path.split('/').at(-2);
      if (method !== 'GET') this.calls.push(`${method} ${name}`);
      const refusal = [...this.refusals].find(([end]) => path.endsWith(end))?.[1];
      if (refusal && method !== 'GET') return answer(refusal[0], { message: refusal[1] });
      if (method === 'GET') {
        const found = this.objects.get(path);
        return found ? answer(200, found) : answer(404, { message: 'not found' });
      }
      if (method === 'DELETE') {
        this.remove(path);
        return answer(200, {});
      }
      const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Stored;
      body.metadata.uid ??= `uid of ${path}`;
      this.put(path, body);
      answer(200, body);
    });
  });

  put(path: string, object: Stored): void {
    const type = this.objects.has(path) ? 'MODIFIED' : 'ADDED';
    this.objects.set(path, object);
    this.#notify(path, type, object);
  }
  remove(path: string): void {
    const object = this.objects.get(path);
    this.objects.delete(path);
    if (object) this.#notify(path, 'DELETED', object);
  }
  #notify(path: string, type: string, object: Stored): void {
    const list = path.replace(/\/namespaces\/[^/]+/, '').replace(/\/[^/]+$/, '');
    for (const watch of this.#watches.get(list) ?? []) watch.write(`${JSON.stringify({ type, object })}\n`);
  }
  /** An object of namespace shop. */
  of(plural: string, name = 'wp'): Stored | undefined {
    return [...this.objects].find(([path]) => path.endsWith(`/shop/${plural}/${name}`))?.[1];
  }
}

const gateway = (more: Partial<GatewayObject['spec']> = {}, name = 'wp'): GatewayObject => ({
  kind: 'Gateway',
  metadata: { name, namespace: 'shop', uid: `gw-${name}` },
  spec: { gatewayClassName: 'weft-waypoint', ...more },
});
const withParameters = gateway({
  infrastructure: { parametersRef: { group: '', kind: 'ConfigMap', name: 'cm' } },
});
const path = (plural: string, name = 'wp'): string =>
  plural === 'deployments'
    ? `/apis/apps/v1/namespaces/shop/deployments/${name}`
    : `/api/v1/namespaces/shop/${plural}/${name}`;

async function setUp(prepare: (api: FakeApi) => void = () => undefined, nowMs?: () => number) {
  const api = new FakeApi();
  prepare(api);
  const config = await listen(api.server);
  const compiler = new Compiler({ trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
  const leader = { leading: true };
  const warned: string[] = [];
  const limits: string[] = [];
  const reconciler = new WaypointReconciler({
    config,
    settings: {
      ...waypointDefaults('{"image":"weft:1"}'),
      control: 'weft-control.weft-system.svc:15012',
      trustDomain: 'cluster.local',
      rootNamespace: 'weft-system',
      rootsConfigMap: 'weft-ca-root-cert',
    },
    compiler,
    roots: (namespace) => ({
      path: `/api/v1/namespaces/${namespace}/configmaps/weft-ca-root-cert`,
      body: { metadata: { name: 'weft-ca-root-cert' }, data: { 'root-cert.pem': 'R' } },
    }),
    leading: () => leader.leading,
    onChange: () => undefined,
    onLimit: (limit) => void limits.push(limit),
    log: { info: () => undefined, warn: (_fields, text) => void warned.push(text ?? '') },
    ...(nowMs ? { nowMs } : {}),
  });
  closers.push(() => {
    reconciler.stop();
    close(api.server);
  });
  const applyObjects = (...objects: MeshObject[]): void => {
    compiler.apply(new Map(objects.map((object) => [objectKey(object), object])));
    reconciler.changed();
  };
  return { api, compiler, reconciler, leader, warned, limits, applyObjects };
}

test("a Gateway's objects are applied once, the roots first, and only by the leader", async () => {
  const { api, leader, reconciler, applyObjects } = await setUp();
  leader.leading = false;
  applyObjects(gateway());
  await sleep(600);
  assert.deepEqual(api.calls, []);
  leader.leading = true;
  reconciler.changed();
  await until('the waypoint is applied', 30_000, () => api.of('deployments'));
  assert.deepEqual(api.calls, [
    'PATCH gatewayclasses',
    'PATCH configmaps',
    'PATCH serviceaccounts',
    'PATCH services',
    'PATCH deployments',
  ]);
  await sleep(600);
  reconciler.changed();
  await sleep(600);
  assert.equal(api.calls.length, 5, 'nothing differs: nothing is applied');
  assert.equal(reconciler.health(gateway()).problem, undefined);
});

test('a manually deleted object is created again', async () => {
  const { api, applyObjects } = await setUp();
  applyObjects(gateway());
  await until('the waypoint is applied', 30_000, () => api.of('deployments'));
  await sleep(5_500);
  api.remove(path('services'));
  await until('the Service is created again', 30_000, () => api.of('services'));
});

test("another owner's object of the name is left unchanged, and the Gateway's health has the problem", async () => {
  const theirs = { metadata: { name: 'wp', uid: 'theirs' }, spec: { theirs: true } };
  const { api, reconciler, applyObjects } = await setUp((prepared) => {
    prepared.objects.set(path('services'), theirs);
  });
  applyObjects(gateway());
  const { message } = await until(
    'the problem is reported',
    30_000,
    () => reconciler.health(gateway()).problem,
  );
  assert.match(message, /Service shop\/wp exists and is not owned by this Gateway/);
  assert.deepEqual(api.of('services'), theirs);
  assert.equal(api.of('deployments'), undefined);
});

test('a waypoint that the API server refuses does not delay others; it is retried, and its health has the reason', async () => {
  const { api, reconciler, applyObjects } = await setUp();
  api.refusals.set('/serviceaccounts/bad', [500, 'etcd is away']);
  applyObjects(gateway({}, 'bad'), gateway());
  await until('the other waypoint is applied', 30_000, () => api.of('deployments'));
  assert.match(reconciler.health(gateway({}, 'bad')).problem?.message ?? '', /etcd is away/);
  api.refusals.clear();
  await until('the refused waypoint is applied', 30_000, () => api.of('deployments', 'bad'));
  await until('the problem is gone', 30_000, () => !reconciler.health(gateway({}, 'bad')).problem);
});

test('missing parameters leave the existing objects unchanged', async () => {
  const { api, reconciler, applyObjects } = await setUp();
  applyObjects(gateway());
  await until('the waypoint is applied', 30_000, () => api.of('deployments'));
  applyObjects(withParameters);
  const missing = await until(
    'the problem is reported',
    30_000,
    () => reconciler.health(withParameters).problem,
  );
  assert.deepEqual(missing, { reason: 'InvalidParameters', message: 'there is no ConfigMap shop/cm' });
  assert.equal(api.of('deployments')?.spec?.['replicas'], 2);
});

test("a Gateway's idle timeout annotation becomes a flag of its waypoint; an invalid one changes nothing", async () => {
  const { api, reconciler, applyObjects } = await setUp();
  const set = (text: string): GatewayObject => {
    const one = gateway();
    const annotations = { 'weft.dev/stream-idle-timeout': text };
    return { ...one, metadata: { ...one.metadata, annotations } };
  };
  applyObjects(gateway());
  await until('the waypoint is applied', 30_000, () => api.of('deployments'));
  const shows = (flag: string): boolean => JSON.stringify(api.of('deployments')?.spec).includes(flag);
  applyObjects(set('90m'));
  await until('the flag is set', 30_000, () => shows('"--stream-idle-timeout-ms=5400000"'));
  applyObjects(set('never'));
  const problem = await until('the problem is reported', 30_000, () => reconciler.health(gateway()).problem);
  assert.equal(problem.reason, 'InvalidParameters');
  assert.ok(shows('"--stream-idle-timeout-ms=5400000"'));
});

test('a Telemetry of the namespace becomes flags of its waypoint, until it is deleted', async () => {
  const { api, compiler, reconciler, applyObjects } = await setUp();
  const shows = (flag: string): boolean => JSON.stringify(api.of('deployments')?.spec).includes(flag);
  const telemetry: MeshObject = {
    kind: 'Telemetry',
    metadata: { name: 'all', namespace: 'shop' },
    spec: { accessLogging: [{}] },
  };
  applyObjects(gateway(), telemetry);
  await until('the waypoint is applied', 30_000, () => api.of('deployments'));
  assert.ok(shows('"--access-log-mode=all"'));
  compiler.apply(new Map([[objectKey(telemetry), undefined]]));
  reconciler.changed();
  await until('the flag is gone', 30_000, () => !shows('--access-log-mode'));
});

test('an autoscaler that the parameters no longer have is deleted', async () => {
  const parameters = (data: Record<string, string>): Stored =>
    ({ metadata: { name: 'cm' }, data }) as unknown as Stored;
  const { api, reconciler, applyObjects } = await setUp((prepared) => {
    prepared.objects.set(path('configmaps', 'cm'), parameters({ horizontalPodAutoscaler: '{}' }));
  });
  applyObjects(withParameters);
  await until('the waypoint is applied', 30_000, () => api.of('horizontalpodautoscalers'));
  assert.equal(api.of('deployments')?.spec?.['replicas'], undefined);
  api.objects.set(path('configmaps', 'cm'), parameters({}));
  await sleep(2_100);
  reconciler.changed();
  await until('the autoscaler is deleted', 30_000, () => !api.of('horizontalpodautoscalers'));
  assert.deepEqual(
    api.calls.filter((call) => call.startsWith('DELETE')),
    ['DELETE horizontalpodautoscalers'],
  );
  await until('replicas are set again', 30_000, () => api.of('deployments')?.spec?.['replicas'] === 2);
});

test('refused parameters leave a running waypoint unchanged; corrected ones apply without a restart', async () => {
  const parameters = (data: Record<string, string>): Stored =>
    ({ metadata: { name: 'cm' }, data }) as unknown as Stored;
  const { api, reconciler, applyObjects } = await setUp((prepared) => {
    prepared.objects.set(path('configmaps', 'cm'), parameters({ deployment: 'spec: { replicas: 3 }' }));
  });
  applyObjects(withParameters);
  await until('the waypoint is applied', 30_000, () => api.of('deployments')?.spec?.['replicas'] === 3);
  const before = JSON.stringify(api.of('deployments'));
  const evil = 'spec: { replicas: 1, template: { spec: { containers: [{ name: waypoint, image: evil }] } } }';
  api.objects.set(path('configmaps', 'cm'), parameters({ deployment: evil }));
  await sleep(2_100);
  reconciler.changed();
  const problem = await until(
    'the problem is reported',
    30_000,
    () => reconciler.health(withParameters).problem,
  );
  assert.equal(problem.reason, 'InvalidParameters');
  assert.match(problem.message, /ConfigMap shop\/cm: deployment: .*containers\.0\.image may not be set/);
  assert.equal(JSON.stringify(api.of('deployments')), before);
  api.objects.set(path('configmaps', 'cm'), parameters({ deployment: 'spec: { replicas: 1 }' }));
  await sleep(2_100);
  reconciler.changed();
  await until(
    'the corrected parameters are applied',
    30_000,
    () => api.of('deployments')?.spec?.['replicas'] === 1,
  );
  await until('the problem is gone', 30_000, () => !reconciler.health(withParameters).problem);
});

test("parsing of one namespace's parameters is rate limited, and waypoints of other namespaces are not delayed", async () => {
  let nowMs = 0;
  const { api, limits, reconciler, applyObjects } = await setUp(
    (prepared) => {
      for (let i = 0; i < 14; i++)
        prepared.objects.set(path('configmaps', `cm-${i}`), {
          metadata: { name: `cm-${i}` },
          data: { deployment: '' },
        } as unknown as Stored);
    },
    () => nowMs,
  );
  const many = Array.from({ length: 14 }, (_, i) =>
    gateway(
      { infrastructure: { parametersRef: { group: '', kind: 'ConfigMap', name: `cm-${i}` } } },
      `wp-${i}`,
    ),
  );
  const elsewhere = gateway({}, 'plain');
  applyObjects(...many, { ...elsewhere, metadata: { ...elsewhere.metadata, namespace: 'other' } });
  const made = (): number => many.filter(({ metadata }) => api.of('deployments', metadata.name)).length;
  await until('the other waypoint is applied', 30_000, () =>
    api.objects.has('/apis/apps/v1/namespaces/other/deployments/plain'),
  );
  await until('the burst is applied', 30_000, () => made() >= 10);
  await until('the limit is reported', 30_000, () => limits.includes('waypoint-parameters'));
  assert.equal(made(), 10);
  nowMs += 4 * 3_000;
  reconciler.changed();
  await until('the rest is applied', 30_000, () => made() === 14);
});

test('no objects are created for a Gateway that is being deleted or is of another class', async () => {
  const { api, applyObjects } = await setUp();
  const deleted = gateway({}, 'deleted');
  applyObjects(
    { ...deleted, metadata: { ...deleted.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } },
    gateway({ gatewayClassName: 'nginx' }, 'foreign'),
    gateway(),
  );
  await until('the other waypoint is applied', 30_000, () => api.of('deployments'));
  for (const name of ['deleted', 'foreign']) assert.equal(api.of('serviceaccounts', name), undefined);
});

test('a policy that names a Secret changes the Deployments of its namespace alone, and the control plane never reads the Secret', async () => {
  const { api, limits, applyObjects } = await setUp();
  const elsewhere = gateway();
  applyObjects(gateway(), {
    ...elsewhere,
    metadata: { ...elsewhere.metadata, namespace: 'other', uid: 'gw-other' },
  });
  const deployment = (namespace: string): string =>
    JSON.stringify(api.objects.get(`/apis/apps/v1/namespaces/${namespace}/deployments/wp`)?.spec ?? {});
  await until('both are applied', 30_000, () => ['shop', 'other'].every((one) => deployment(one) !== '{}'));
  const [before, others] = [deployment('shop'), deployment('other')];
  const policy = (name: string): MeshObject => ({
    kind: 'BackendTLSPolicy',
    metadata: { name, namespace: 'shop', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: {
      targetRefs: [{ group: '', kind: 'Service', name: 'api' }],
      validation: { hostname: 'api.test', wellKnownCACertificates: 'System' },
      options: { 'weft.dev/client-certificate': name },
    },
  });
  applyObjects(policy('bank'));
  await until('the Secret is mounted', 30_000, () =>
    deployment('shop').includes('"name":"bank","optional":true'),
  );
  assert.notEqual(deployment('shop'), before);
  applyObjects(...Array.from({ length: 20 }, (_, i) => policy(`more-${i}`)));
  await until('the limit is reported', 30_000, () => limits.includes('client-certificates'));
  await until(
    'it bounds the mounts',
    30_000,
    () => deployment('shop').split('"optional":true').length === 17,
  );
  assert.equal(deployment('other'), others);
  assert.ok([...api.paths].every((one) => !one.includes('secrets')));
});
