/**
 * Waypoints on a real cluster: the one that KUBECONFIG names, else one of this machine (test/cluster/up), which is taken down again. The
 * kinds are the Gateway API's published CRDs of the standard channel, by the Go module proxy.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { applyText, gatewayKinds, given, here, kubectl, run, weft, weftImage } from '../support/cluster.js';

const image = weftImage;
const store = (...args: string[]): Promise<string> => kubectl('-n', 'store', ...args);
const system = (...args: string[]): Promise<string> => kubectl('-n', 'weft-system', ...args);
const apply = (text: string): Promise<string> => applyText(text);

interface Ask {
  readonly url: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly count?: number;
  /** gRPC instead: the path is of a method. */
  readonly grpc?: boolean;
  /** For so long instead of a count, as fast as it is answered. */
  readonly ms?: number;
  /** On connections that stay. */
  readonly keepAlive?: boolean;
}
interface Answer {
  /** Absent where there was none. */
  readonly status?: number;
  readonly error?: string;
  /** Who served, of an answer of the application. */
  readonly pod?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** As the application saw them. */
  readonly seen?: Readonly<Record<string, string>>;
  readonly atMs: number;
}
/** Runs in a client's pod: asks, and prints what came of it. */
const client = `
const { url, method = 'GET', headers = {}, count = 1, ms = 0, grpc, keepAlive = false } = JSON.parse(process.argv[1]);
const http = require('http'), http2 = require('http2');
const agent = keepAlive ? new http.Agent({ keepAlive: true, maxSockets: 1 }) : false;
const plain = () => new Promise((done) => {
  const call = http.request(url, { method, headers, agent, timeout: 15000 }, (a) => {
    let text = '';
    a.on('data', (d) => (text += d));
    a.on('error', (e) => done({ error: e.message }));
    a.on('end', () => {
      let body = {};
      try { body = JSON.parse(text); } catch {}
      done({ status: a.statusCode, headers: a.headers, pod: body.pod, seen: body.headers });
    });
  });
  call.on('timeout', () => call.destroy(new Error('timeout')));
  call.on('error', (e) => done({ error: e.message }));
  call.end();
});
const remote = () => new Promise((done) => {
  const at = new URL(url);
  const session = http2.connect(at.origin);
  const end = (answer) => { session.destroy(); done(answer); };
  session.on('error', (e) => end({ error: e.message }));
  const stream = session.request({ ':method': 'POST', ':path': at.pathname, 'content-type': 'application/grpc', te: 'trailers', ...headers });
  let found = {};
  stream.on('response', (h) => { found = { ...h }; });
  stream.on('trailers', (h) => { found = { ...found, ...h }; });
  stream.on('error', (e) => end({ error: e.message }));
  stream.on('end', () => end({ status: Number(found['grpc-status']), headers: found, pod: found['served-by'] }));
  stream.resume();
  stream.end(Buffer.from([0, 0, 0, 0, 1, 7]));
});
(async () => {
  const answers = [], until = Date.now() + ms;
  while (ms > 0 ? Date.now() < until : answers.length < count) answers.push({ ...(await (grpc ? remote() : plain())), atMs: Date.now() });
  process.stdout.write(JSON.stringify(answers), () => process.exit());
})();`;
async function askAll(who: string, ask: Ask): Promise<readonly Answer[]> {
  const [namespace = '', name = ''] = who.split('/');
  return JSON.parse(
    await kubectl('-n', namespace, 'exec', `deploy/${name}`, '--', 'node', '-e', client, JSON.stringify(ask)),
  ) as Answer[];
}
async function ask(who: string, url: string, more: Omit<Ask, 'url'> = {}): Promise<Answer> {
  const [answer] = await askAll(who, { url, ...more });
  assert.ok(answer);
  return answer;
}
/** Until it is as it shall be: what is applied takes a moment to be everywhere. */
async function asked(
  what: string,
  isSo: (answer: Answer) => boolean,
  ...args: Parameters<typeof ask>
): Promise<Answer> {
  let last: Answer | undefined;
  return until(what, 20_000, async () => {
    last = await ask(...args);
    return isSo(last) && last;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
}
const viaWaypoint = ({ seen }: Answer): boolean =>
  seen?.['x-forwarded-client-cert']?.includes('URI=spiffe://') === true;

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
}
interface Gatewayish {
  readonly metadata: { readonly generation: number };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly addresses?: readonly { readonly value: string }[];
    readonly parents?: readonly {
      readonly controllerName: string;
      readonly conditions: readonly Condition[];
    }[];
  };
}
const read = async (...what: string[]): Promise<Gatewayish> =>
  JSON.parse(await store('get', ...what, '-o', 'json')) as Gatewayish;
/** A condition once it is of the object as it is now. */
const said = (what: readonly [string, string], type: string, reason: string): Promise<Condition> => {
  let last: unknown;
  return until(`${what.join(' ')} says ${type} ${reason}`, 60_000, async () => {
    const { metadata, status } = await read(...what);
    const conditions = [
      ...(status?.conditions ?? []),
      ...(status?.parents ?? []).flatMap((one) => one.conditions),
    ];
    last = conditions;
    const found = conditions.find((one) => one.type === type);
    return found?.reason === reason && found.observedGeneration === metadata.generation && found;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
};

const route = (
  name: string,
  rules: string,
  more = '',
  kind = 'HTTPRoute',
  namespace = 'store',
): string => `---
apiVersion: gateway.networking.k8s.io/v1
kind: ${kind}
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  parentRefs: [{ group: '', kind: Service, name: api, namespace: store, port: ${kind === 'GRPCRoute' ? 9090 : 80}${more} }]
  rules: ${rules}
`;
const to = (name: string, more = ''): string =>
  `backendRefs: [{ name: ${name}, namespace: store, port: 80${more} }]`;

const rollout = (...args: string[]): Promise<string> => store('rollout', 'status', ...args, '--timeout=120s');

before(async () => {
  if (given === undefined) await run(join(here, 'up'), '--nodes', '2');
  await run(join(here, 'weft-image'), `${image}:0.1.0`);
  await kubectl('apply', '-f', join(here, 'manifests', 'waypoint.yaml'));
});
after(async () => {
  await kubectl('delete', 'gateway', '--all', '-n', 'store').catch(() => '');
  await run('helm', 'uninstall', 'weft', '-n', 'weft-system', '--ignore-not-found').catch(() => '');
  if (given === undefined) await run(join(here, 'down'));
  else await kubectl('delete', 'namespace', 'store', 'other', 'outside', '--ignore-not-found');
});

test("without the Gateway API's kinds the mesh starts, and the class of waypoints is made once they are there", async () => {
  const chart = ['daemonset/chart', '-n', 'weft-system', '--set', `image.repository=${image}`];
  await run('helm', 'install', 'weft', ...chart, '--create-namespace', '--wait', '--timeout', '120s');
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=60s');
  for (const name of ['api-v1', 'api-v2', 'client', 'intruder']) await rollout(`deploy/${name}`);
  // A cluster that is given may have them.
  if ((await kubectl('get', 'crd', '-o', 'name')).includes('gateways.gateway.networking.k8s.io') === false)
    await assert.rejects(
      weft('waypoint', 'apply', '-n', 'store'),
      /WEFT_GATEWAY_API.*standard-install\.yaml/,
    );
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
  await until('the class is accepted', 90_000, async () => {
    const found = JSON.parse(
      await kubectl('get', 'gatewayclass', 'weft-waypoint', '-o', 'json').catch(() => '{}'),
    ) as Gatewayish;
    return found.status?.conditions?.some(({ type, status }) => type === 'Accepted' && status === 'True');
  });
});

test('a Gateway becomes pods that may do nothing on their node, and is programmed with an address', async () => {
  const done = await weft('waypoint', 'apply', '-n', 'store', '--for-namespace');
  assert.match(done, /waypoint store\/waypoint is ready at 10\./);
  assert.match(done, /namespace store labeled weft\.dev\/waypoint=waypoint/);
  const { status } = await read('gateway', 'waypoint');
  await said(['gateway', 'waypoint'], 'Accepted', 'Accepted');
  await said(['gateway', 'waypoint'], 'Programmed', 'Programmed');
  const ip = await store('get', 'service', 'waypoint', '-o', 'jsonpath={.spec.clusterIP}');
  assert.deepEqual(
    status?.addresses?.map(({ value }) => value),
    [ip],
  );
  const pods = await store(
    'get',
    'pod',
    '-l',
    'gateway.networking.k8s.io/gateway-name=waypoint',
    '-o',
    'yaml',
  );
  for (const line of [
    'runAsNonRoot: true',
    'readOnlyRootFilesystem: true',
    'allowPrivilegeEscalation: false',
  ])
    assert.ok(pods.includes(line), line);
  assert.equal(await store('exec', 'deploy/waypoint', '--', 'node', '-p', 'process.getuid()'), '65532');
  assert.match(await weft('waypoint', 'list'), /^store +waypoint +yes +10\.\S+ +2 of 2 +store$/m);
});

test('without a route requests go through the waypoint, to the Service and to a pod by its address', async () => {
  await asked('the waypoint is on the way', viaWaypoint, 'store/client', 'http://api/');
  const ip = await store('get', 'pod', '-l', 'app=api,version=v2', '-o', 'jsonpath={.items[0].status.podIP}');
  for (const url of ['http://api/', `http://${ip}:8080/`]) {
    const answer = await ask('store/client', url);
    assert.equal(answer.status, 200, JSON.stringify(answer));
    assert.match(
      answer.seen?.['x-forwarded-client-cert'] ?? '',
      /^URI=spiffe:\/\/cluster\.local\/ns\/store\/sa\/client$/,
    );
  }
});

test('a pod outside of the mesh is refused: there is no way around the waypoint', async () => {
  const ip = await store('get', 'pod', '-l', 'app=api,version=v2', '-o', 'jsonpath={.items[0].status.podIP}');
  for (const url of ['http://api.store/', `http://${ip}:8080/`]) {
    const answer = await ask('outside/client', url);
    assert.equal(answer.status, undefined, `${url}: ${JSON.stringify(answer)}`);
  }
});

test('a route sends by header, and the rest 90 to 10', async () => {
  await apply(
    route(
      'api',
      `
    - { matches: [{ headers: [{ name: x-version, value: v2 }] }], ${to('api-v2')} }
    - backendRefs: [{ name: api-v1, port: 80, weight: 90 }, { name: api-v2, port: 80, weight: 10 }]`,
    ),
  );
  await said(['httproute', 'api'], 'Accepted', 'Accepted');
  const headers = { 'x-version': 'v2' };
  const isV2 = ({ pod }: Answer): boolean => pod?.startsWith('api-v2-') === true;
  const steered = await until('all go by the header', 20_000, async () => {
    const all = await askAll('store/client', { url: 'http://api/', headers, count: 10 });
    return all.every(isV2) && all;
  });
  assert.equal(steered.length, 10);
  const all = await askAll('store/client', { url: 'http://api/', count: 400 });
  assert.ok(all.every(({ status }) => status === 200));
  const second = all.filter(isV2).length;
  // Four standard deviations either way.
  assert.ok(second > 16 && second < 64, `${second} of 400`);
});

test('a backend that is not there answers 500, and the route says so of the generation that is meant', async () => {
  await apply(route('api', `[{ ${to('gone')} }]`));
  const { status, message } = await said(['httproute', 'api'], 'ResolvedRefs', 'BackendNotFound');
  assert.equal(status, 'False');
  assert.match(message, /gone/);
  await asked('it answers 500', (answer) => answer.status === 500, 'store/client', 'http://api/');
  await apply(route('api', `[{ ${to('api-v1')} }]`));
  const again = await said(['httproute', 'api'], 'ResolvedRefs', 'ResolvedRefs');
  assert.equal(again.status, 'True');
  await asked('it answers again', (answer) => answer.status === 200, 'store/client', 'http://api/');
});

test('a request that takes longer than its route allows ends in 504', async () => {
  await apply(route('api', `[{ timeouts: { request: 500ms }, ${to('api-v1')} }]`));
  const slow = 'http://api/slow/3000';
  await asked('it ends in time', (answer) => answer.status === 504, 'store/client', slow);
  assert.equal((await ask('store/client', 'http://api/slow/10')).status, 200);
  await store('delete', 'httproute', 'api');
});

test('a route of another namespace holds for the clients of that namespace alone', async () => {
  const tagged = `[{ filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-route, value: consumer }] } }], ${to('api-v2')} }]`;
  await apply(route('mine', tagged, '', 'HTTPRoute', 'other'));
  const own = await asked(
    "the consumer's route is in force",
    ({ headers }) => headers?.['x-route'] === 'consumer',
    'other/client',
    'http://api.store/',
  );
  assert.match(own.pod ?? '', /^api-v2-/);
  for (const answer of await askAll('store/client', { url: 'http://api/', count: 10 })) {
    assert.equal(answer.status, 200);
    assert.equal(answer.headers?.['x-route'], undefined);
  }
  await kubectl('-n', 'other', 'delete', 'httproute', 'mine');
});

test('gRPC calls go by their method', async () => {
  await apply(
    route(
      'grpc',
      `
    - { matches: [{ method: { service: shop.Stock, method: Count } }], backendRefs: [{ name: api-v2, port: 9090 }] }
    - { backendRefs: [{ name: api-v1, port: 9090 }] }`,
      '',
      'GRPCRoute',
    ),
  );
  await said(['grpcroute', 'grpc'], 'Accepted', 'Accepted');
  const call = (method: string): Parameters<typeof ask> => [
    'store/client',
    `http://api:9090/shop.Stock/${method}`,
    { grpc: true },
  ];
  const goesTo = (version: string) => (answer: Answer) =>
    answer.status === 0 && answer.pod?.startsWith(`api-${version}-`) === true;
  await asked('the method that is named', goesTo('v2'), ...call('Count'));
  for (let i = 0; i < 5; i++) {
    const [other, named] = [await ask(...call('Other')), await ask(...call('Count'))];
    assert.ok(goesTo('v1')(other), JSON.stringify(other));
    assert.ok(goesTo('v2')(named), JSON.stringify(named));
  }
  await store('delete', 'grpcroute', 'grpc');
});

test('a policy of methods and paths refuses with 403 what it does not allow, by Service and by workload', async () => {
  const policy = (where: string): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: readers, namespace: store }
spec:
  action: ALLOW
  ${where}
  rules: [{ from: [{ serviceAccounts: [store/client] }], to: [{ methods: [GET], paths: ['/open*'] }] }]
`;
  for (const where of [
    "targetRefs: [{ group: '', kind: Service, name: api }]",
    'selector: { matchLabels: { app: api } }',
  ]) {
    await apply(policy(where));
    const { status } = await said(['accesspolicy', 'readers'], 'weft.dev/Enforced', 'Enforced');
    assert.equal(status, 'True');
    await asked(
      'a path that is not allowed is refused',
      (a) => a.status === 403,
      'store/client',
      'http://api/closed',
    );
    assert.equal((await ask('store/client', 'http://api/open/1')).status, 200, where);
    assert.equal((await ask('store/client', 'http://api/open/1', { method: 'POST' })).status, 403, where);
    assert.equal((await ask('store/intruder', 'http://api/open/1')).status, 403, where);
    await store('delete', 'accesspolicy', 'readers');
    await asked('it is allowed again', (a) => a.status === 200, 'store/client', 'http://api/closed');
  }
});

test('a waypoint is rolled without a failed request', async () => {
  const ms = 60_000;
  const load = Promise.all([
    askAll('store/client', { url: 'http://api/', ms }),
    askAll('other/client', { url: 'http://api.store/', ms }),
    askAll('store/client', { url: 'http://api/slow/200', ms }),
    askAll('store/client', { url: 'http://api/', ms, keepAlive: true }),
  ]);
  await sleep(3_000);
  const began = Date.now();
  await store('rollout', 'restart', 'deploy/waypoint');
  await rollout('deploy/waypoint');
  await until('the former ones are gone', 90_000, async () => {
    const pods = await store(
      'get',
      'pod',
      '-l',
      'gateway.networking.k8s.io/gateway-name=waypoint',
      '-o',
      'name',
    );
    return pods.split('\n').length === 2;
  });
  assert.ok(Date.now() - began < ms, 'the load went on for as long');
  const answers = await load;
  for (const [index, all] of answers.entries()) {
    const bad = all.filter(({ status }) => status !== 200);
    assert.deepEqual(bad, [], `load ${index}: ${bad.length} of ${all.length}`);
    assert.ok(all.every(viaWaypoint), 'none went around it');
  }
});

const parameters = (replicas: number): string => `apiVersion: v1
kind: ConfigMap
metadata: { name: waypoint, namespace: store }
data:
  deployment: |
    spec: { replicas: ${replicas} }
`;
const withParameters = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: store }
spec:
  gatewayClassName: weft-waypoint
  infrastructure: { parametersRef: { group: '', kind: ConfigMap, name: waypoint } }
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
`;
test('a waypoint that is scaled to zero means refusal, never a way around it', async () => {
  await apply(parameters(0) + withParameters);
  const { status } = await said(['gateway', 'waypoint'], 'Programmed', 'NoResources');
  assert.equal(status, 'False');
  await assert.rejects(weft('waypoint', 'status', '-n', 'store'), (error: { stdout: string }) => {
    assert.match(error.stdout, /^programmed +no: NoResources: .*scaled to zero/m);
    return true;
  });
  await asked('it is refused', (answer) => answer.status === undefined, 'store/client', 'http://api/');
  const ip = await store('get', 'pod', '-l', 'app=api,version=v2', '-o', 'jsonpath={.items[0].status.podIP}');
  for (const [who, url] of [
    ['store/client', 'http://api/'],
    ['store/client', `http://${ip}:8080/`],
    ['other/client', 'http://api.store/'],
  ] as const) {
    const answers = await askAll(who, { url, count: 5 });
    assert.ok(
      answers.every((answer) => answer.status === undefined),
      `${url}: ${JSON.stringify(answers)}`,
    );
  }
  await apply(parameters(1));
  await said(['gateway', 'waypoint'], 'Programmed', 'Programmed');
  await asked(
    'it is back',
    (answer) => answer.status === 200 && viaWaypoint(answer),
    'store/client',
    'http://api/',
  );
});

test('parameters that are wrong are said on the Gateway, and what runs goes on', async () => {
  await apply(parameters(1).replace('deployment:', 'deploy:'));
  const { message } = await said(['gateway', 'waypoint'], 'Accepted', 'InvalidParameters');
  assert.match(message, /ConfigMap store\/waypoint: deploy is none of/);
  assert.equal((await ask('store/client', 'http://api/')).status, 200);
  await apply(parameters(1));
  await said(['gateway', 'waypoint'], 'Accepted', 'Accepted');
});

test('parameters that would run something else are refused by the field’s name, and what runs goes on', async () => {
  const image = (): Promise<string> =>
    store('get', 'deployment', 'waypoint', '-o', 'jsonpath={.spec.template.spec.containers[*].image}');
  const before = await image();
  await apply(
    parameters(1).replace(
      'spec: { replicas: 1 }',
      'spec: { template: { spec: { hostNetwork: true, containers: [{ name: waypoint, image: evil }] } } }',
    ),
  );
  const { message } = await said(['gateway', 'waypoint'], 'Accepted', 'InvalidParameters');
  assert.match(message, /(hostNetwork|containers\.0\.image) may not be set/);
  assert.equal(await image(), before);
  assert.equal((await ask('store/client', 'http://api/')).status, 200);
  await apply(parameters(1));
  await said(['gateway', 'waypoint'], 'Accepted', 'Accepted');
});

test('an autoscaler is there while the parameters ask for one, and no longer', async () => {
  const scaler = (): Promise<string> => store('get', 'hpa', '-o', 'name');
  await apply(`${parameters(1)}  horizontalPodAutoscaler: 'spec: { minReplicas: 2, maxReplicas: 3 }'\n`);
  await until(
    'it is made',
    60_000,
    async () => (await scaler()) === 'horizontalpodautoscaler.autoscaling/waypoint',
  );
  await apply(parameters(1));
  await until('it is gone', 60_000, async () => (await scaler()) === '');
  await said(['gateway', 'waypoint'], 'Programmed', 'Programmed');
});

test('a Service goes through a waypoint of another namespace only once that admits it; until then it is closed', async () => {
  await weft('waypoint', 'apply', '-n', 'outside', '--name', 'far', '--wait');
  const labels = ['weft.dev/waypoint=far', 'weft.dev/waypoint-namespace=outside'];
  await store('label', 'service', 'api-v2', ...labels);
  await asked(
    'it is closed',
    (answer) => answer.status === undefined,
    'other/client',
    'http://api-v2.store/',
  );
  const condition = await until('its Service says why', 60_000, async () => {
    const conditions = await store('get', 'service', 'api-v2', '-o', 'jsonpath={.status.conditions}');
    return conditions.includes('weft.dev/WaypointBound') && conditions;
  });
  assert.match(condition, /WaypointNotAllowed/);
  assert.match(await weft('waypoint', 'status', 'far', '-n', 'outside'), /^closed +Service store\/api-v2/m);
  const from = (value: string): Promise<string> =>
    kubectl(
      ...['-n', 'outside', 'patch', 'gateway', 'far', '--type=json', '-p'],
      JSON.stringify([
        { op: 'add', path: '/spec/listeners/0/allowedRoutes', value: { namespaces: { from: value } } },
      ]),
    );
  await from('All');
  // To its own Service alone: pods of it are behind the namespace's waypoint by the other Service.
  await asked(
    'it is on the way',
    (answer) => answer.status === 200 && viaWaypoint(answer),
    'other/client',
    'http://api-v2.store/',
  );
  await assert.rejects(
    weft('waypoint', 'delete', 'far', '-n', 'outside'),
    /WEFT_WAYPOINT_IN_USE.*Service store\/api-v2/,
  );
  await weft('waypoint', 'delete', 'far', '-n', 'outside', '--unlabel');
  await until('its account is gone', 60_000, async () => {
    const accounts = await kubectl('-n', 'outside', 'get', 'serviceaccount', '-o', 'name');
    return !accounts.includes('far');
  });
});

test('the control plane may do what it does for waypoints, and no more', async () => {
  const may = async (...what: string[]): Promise<string> =>
    store('auth', 'can-i', ...what, '--as=system:serviceaccount:weft-system:weft-control').catch(
      (error: { stdout: string }) => error.stdout.trim(),
    );
  for (const what of ['patch deployments', 'create services', 'delete horizontalpodautoscalers'])
    assert.equal(await may(...what.split(' ')), 'yes', what);
  for (const what of [
    'get secrets',
    'delete deployments',
    'delete services',
    'create pods',
    'list configmaps',
    'patch gateways',
    'get pods',
    'update deployments',
    'patch namespaces',
  ])
    assert.equal(await may(...what.split(' ')), 'no', what);
  const pods = (await system('get', 'pod', '-l', 'app=weft-control', '-o', 'name')).split('\n');
  for (const pod of pods) assert.doesNotMatch(await system('logs', pod), /forbidden/);
});

test('a waypoint that is deleted takes all along that was made for it; one that is in use is not deleted by mistake', async () => {
  await assert.rejects(weft('waypoint', 'delete', '-n', 'store'), /WEFT_WAYPOINT_IN_USE.*store/);
  await weft('waypoint', 'delete', '-n', 'store', '--unlabel');
  await until('nothing is left', 90_000, async () => {
    const selector = 'app.kubernetes.io/managed-by=weft-control';
    return (await store('get', 'deploy,service,serviceaccount,pod,hpa', '-l', selector, '-o', 'name')) === '';
  });
  const answer = await asked(
    'requests go without it',
    (one) => one.status === 200 && !viaWaypoint(one),
    'store/client',
    'http://api/',
  );
  assert.match(answer.pod ?? '', /^api-/);
});
