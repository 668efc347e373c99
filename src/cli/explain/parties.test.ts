import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MeshSnapshot } from '../../state/snapshot.js';
import {
  behind,
  domain,
  id,
  key,
  pod,
  policy,
  service,
  waypointRef,
  workload,
} from '../../../test/support/mesh.js';
import { dice, names, randomUpdate } from '../../../test/support/random-mesh.js';
import { issuerOf, jwtFilter, newKey, signed } from '../../../test/support/jwt-issuer.js';
import { askFilter } from '../../../test/support/decision-services.js';
import { filter } from '../../../test/support/filters.js';
import { route } from '../../../test/support/waypoint.js';
import type { RouteBackend, RouteFilter } from '../../model/route.js';
import type { ServiceKey } from '../../model/workload.js';
import { MeshState } from '../../state/store.js';
import { explain } from './explain.js';
import { ExplainMesh, asInCluster } from './mesh.js';
import { requestOf } from './request.js';
import type { Explanation } from './result.js';

const [web, api] = [workload('web', '10.0.1.1', 'n1'), workload('api', '10.0.2.1', 'n2', behind('api'))];
const bare: MeshSnapshot = {
  trustDomain: domain,
  mesh: {
    workloads: [web, api, workload('old', '10.0.1.7', 'n1', { tunnel: 'none' })],
    services: [service('api', '10.96.0.1')],
    policies: [],
  },
  pods: [],
  nodePods: [
    { node: 'n1', pod: pod('web', '10.0.1.1') },
    { node: 'n2', pod: pod('api', '10.0.2.1') },
  ],
  routes: [],
  servicePolicies: [],
  withoutAddress: [],
  waypoints: [],
};
const ask = (
  snapshot: MeshSnapshot,
  source: string | undefined,
  destination: string,
  identity?: string,
): Promise<Explanation> =>
  explain(new ExplainMesh(snapshot), { source, destination, identity, request: requestOf({}) });
const short = ({ outcome, ways: [way] }: Explanation): string =>
  `${outcome} ${way?.path} ${way?.code ?? ''}`.trim();

test('a destination is a Service, a host name as DNS completes it, a pod, or an address', async () => {
  for (const destination of [
    'shop/api',
    'shop/api:80',
    'api',
    'api.shop',
    'api.shop.svc',
    'api.shop.svc.cluster.local:80',
    '10.96.0.1:80',
    '10.96.0.1',
    '10.0.2.1:8080',
  ])
    assert.equal(short(await ask(bare, 'shop/web', destination)), 'allowed hbone', destination);
  assert.equal(
    short(await ask(bare, 'shop/web', 'shop/api:81')),
    'refused refused WEFT_NO_SUCH_SERVICE_PORT',
  );
  assert.equal(short(await ask(bare, 'shop/web', '192.0.2.9:443')), 'allowed plain');
  assert.equal(short(await ask(bare, 'shop/web', 'shop/old:80')), 'allowed plain');
  assert.equal(short(await ask(bare, 'shop/web', 'shop/web:80')), 'allowed plain', 'its own address');
});

test('a client that is not in the mesh has no identity: what demands one refuses it', async () => {
  const strict = policy('strict', 'deny', { notPrincipals: [{ kind: 'presence' }] });
  const snapshot = { ...bare, mesh: { ...bare.mesh, policies: [strict] } };
  for (const source of ['shop/old', '192.0.2.7', '10.0.1.7']) {
    assert.equal(short(await ask(bare, source, 'shop/api')), 'allowed plain', source);
    assert.equal(short(await ask(snapshot, source, 'shop/api')), 'refused refused WEFT_DENIED', source);
  }
  assert.equal(short(await ask(snapshot, 'shop/web', 'shop/api')), 'allowed hbone');
});

test('an identity stands for its pods, or for a pod on another node', async () => {
  const known = await ask(bare, undefined, 'shop/api', id('web'));
  assert.deepEqual([known.source.name, known.notes], ['shop/web', []]);
  const unknown = await ask(bare, undefined, 'shop/api', 'spiffe://cluster.local/ns/x/sa/y');
  assert.equal(short(unknown), 'allowed hbone');
  assert.match(unknown.notes.join(), /no pod with this identity/);
});

test('what is not there is refused with what there is', async () => {
  const wrong = (source: string, destination: string, message: RegExp) =>
    assert.rejects(ask(bare, source, destination), { code: 'WEFT_EXPLAIN_INPUT', message });
  await wrong('shop/wbe', 'shop/api', /namespace shop has api, old, web/);
  await wrong('ship/web', 'shop/api', /nothing in namespace ship: there are pods in shop/);
  await wrong('web', 'shop/api', /NAMESPACE\/POD/);
  await wrong('shop/web', 'shop/apo', /no Service, pod, Deployment or app shop\/apo/);
  await wrong('shop/web', 'nobody.example', /there are api\.shop\.svc\.cluster\.local/);
  await wrong('shop/web', 'shop/api:0', /0 is no port/);
  await wrong('shop/web', 'shop/api:http', /"http" is no port: pass a number, shop\/api:80/);
  await wrong('shop/web', 'shop/api:', /"" is no port/);
  await wrong('shop/web', 'shop/old', /say the port/);
  const empty = { ...bare, mesh: { ...bare.mesh, workloads: [] } };
  await assert.rejects(ask(empty, 'shop/web', 'shop/api'), { message: /no pods at all/ });
  for (const flags of [
    { method: 'G ET' },
    { path: 'x' },
    { path: '/a b' },
    { path: '/%zz\r\nx: y' },
    { host: 'a b' },
    { header: ['x'] },
    { header: ['x: a\r\ny: b'] },
    { header: ['transfer-encoding: chunked'] },
    { tcp: true, path: '/' },
  ])
    assert.throws(() => requestOf(flags), { code: 'WEFT_EXPLAIN_INPUT' }, JSON.stringify(flags));
});

test('a waypoint of which only the Gateway is known counts as ready, one without a Gateway does not', async () => {
  const mesh = { ...bare.mesh, services: [service('api', '10.96.0.1', 8080, { waypoint: waypointRef })] };
  assert.equal(
    short(await ask({ ...bare, mesh }, 'shop/web', 'shop/api')),
    'refused refused WEFT_WAYPOINT_MISSING',
  );
  const without = asInCluster({ ...bare, mesh });
  assert.deepEqual(without.assumed, []);
  const { snapshot, assumed } = asInCluster({ ...bare, mesh, waypoints: ['shop/wp'] });
  assert.deepEqual(assumed, ['shop/wp']);
  assert.equal(short(await ask(snapshot, 'shop/web', 'shop/api')), 'allowed waypoint');
  // Around the waypoint: the pod's own address leads to the waypoint, too, and plaintext is refused.
  assert.equal(short(await ask(snapshot, 'shop/web', '10.0.2.1:8080')), 'allowed waypoint');
  assert.equal(short(await ask(snapshot, 'shop/old', 'shop/api')), 'refused refused WEFT_AROUND_WAYPOINT');
});

test('a Service of a file that states no address has one, as in a cluster; a headless one has none', async () => {
  const mesh = {
    ...bare.mesh,
    services: [service('api', '10.96.0.1', 8080, { addresses: [], waypoint: waypointRef })],
  };
  const { snapshot } = asInCluster({
    ...bare,
    mesh,
    waypoints: ['shop/wp'],
    withoutAddress: [service('api', '10.96.0.1').key],
  });
  const found = await ask(snapshot, 'shop/web', 'shop/api');
  assert.equal(short(found), 'allowed waypoint');
  assert.equal(found.request?.host, 'api.shop.svc.cluster.local');
  const headless = asInCluster({ ...bare, mesh, waypoints: ['shop/wp'] });
  const direct = await ask(headless.snapshot, 'shop/web', 'shop/api:8080');
  assert.deepEqual(direct.destination.addresses, ['10.0.2.1']);
});

const guarded = (service: ServiceKey, waypoint = 'shop/wp') => ({
  waypoint,
  policy: { service, port: 80, origins: [], filters: [askFilter()] },
});
/** A mesh whose Service `api` has a waypoint. */
const withWaypoint = (more: Partial<MeshSnapshot>): MeshSnapshot =>
  asInCluster({
    ...bare,
    mesh: {
      ...bare.mesh,
      workloads: [
        ...(bare.mesh.workloads ?? []),
        workload('old', '10.0.1.7', 'n1', { ...behind('v2'), tunnel: 'none' }),
      ],
      services: [
        service('api', '10.96.0.1', 8080, { waypoint: waypointRef }),
        service('v2', '10.96.0.2', 8080, { waypoint: { ...waypointRef, service: key('wp2') } }),
      ],
    },
    waypoints: ['shop/wp', 'shop/wp2'],
    ...more,
  }).snapshot;

test('a connection that is not HTTP is refused where decisions about requests are demanded', async () => {
  const tcp = (snapshot: MeshSnapshot): Promise<Explanation> =>
    explain(new ExplainMesh(snapshot), {
      source: 'shop/web',
      destination: 'shop/api',
      request: requestOf({ tcp: true }),
    });
  assert.equal(short(await tcp(withWaypoint({}))), 'allowed waypoint');
  const found = await tcp(withWaypoint({ servicePolicies: [guarded(key('api'))] }));
  assert.equal(short(found), 'refused refused WEFT_DENIED');
  assert.match(found.ways[0]?.why ?? '', /demands a decision about each request/);
});

test('nothing is certain that a decision service may refuse: at the first of two waypoints, before a redirect, at a backend by its weight', async () => {
  const rule = (filters: RouteFilter[], backends: RouteBackend[]) => [
    route('r', [{ filters, backends }], { parents: [{ service: key('api') }] }),
  ];
  const to = (name: string, weight = 1, filters: RouteFilter[] = []): RouteBackend => ({
    target: { kind: 'service', service: key(name), port: 80 },
    weight,
    filters,
  });
  const redirect = filter('redirect', { hostname: 'a.test', statusCode: 302 });
  const servicePolicies = [guarded(key('api'))];
  for (const [snapshot, outcome] of [
    [{ routes: rule([], [to('v2')]) }, 'allowed'],
    [{ routes: rule([], [to('v2')]), servicePolicies }, 'unknown'],
    [{ routes: rule([redirect], []) }, 'allowed'],
    [{ routes: rule([redirect], []), servicePolicies }, 'unknown'],
    [{ routes: rule([], [to('api', 99_999), to('v2')]) }, 'allowed'],
    [{ routes: rule([], [to('api', 99_999), to('v2', 1, [askFilter()])]) }, 'unknown'],
    [{ routes: rule([], [to('api', 99_999), to('v2')]), servicePolicies: [guarded(key('v2'))] }, 'unknown'],
    [{ routes: rule([], [to('v2'), to('api', 99_999, [redirect])]) }, 'unknown'],
  ] as const)
    assert.equal(
      (await ask(withWaypoint(snapshot), 'shop/web', 'shop/api')).outcome,
      outcome,
      JSON.stringify(snapshot),
    );
});

test('nothing is certain of a token in audit mode whose keys are not known: policies may deny its claims', async () => {
  const signing = newKey('ES256', 'k1');
  const authorization = `authorization: Bearer ${signed(signing)}`;
  const outcome = async (more: Parameters<typeof issuerOf>[1], header: string[]): Promise<string> => {
    const filters = [jwtFilter([issuerOf(signing, more)], { dryRun: true })];
    const policy = { service: key('api'), port: 80, origins: [], filters };
    const snapshot = withWaypoint({ servicePolicies: [{ waypoint: 'shop/wp', policy }] });
    const request = requestOf({ header });
    const question = { source: 'shop/web', destination: 'shop/api', request };
    return (await explain(new ExplainMesh(snapshot), question)).outcome;
  };
  const unknown = { jwks: '', keysUri: 'https://keys.test', keysProblem: 'not fetched' };
  assert.equal(await outcome({}, [authorization]), 'allowed');
  assert.equal(await outcome(unknown, []), 'allowed');
  assert.equal(await outcome(unknown, [authorization]), 'unknown');
});

test('whatever the mesh, there is an answer with a reason, or what is wrong with the question', async () => {
  const roll = dice(7);
  const pick = (): string => names[roll(names.length)] ?? 'a';
  const state = new MeshState();
  const seen = new Set<string>();
  for (let i = 0; i < 600; i++) {
    state.apply(randomUpdate(roll, 'a'));
    const mesh = state.full();
    const snapshot: MeshSnapshot = {
      ...bare,
      mesh,
      nodePods: (mesh.workloads ?? [])
        .filter(({ uid }) => uid.includes('//Pod/'))
        .map(({ uid, name, namespace, node, identity: own, addresses }) => ({
          node,
          pod: pod(name, addresses[0] ?? '10.0.0.1', { uid, namespace, identity: own, addresses }),
        })),
    };
    try {
      const destination =
        [`shop/${pick()}:80`, `10.0.0.${roll(8)}:80`, `other/${pick()}:8080`][roll(3)] ?? '';
      const { outcome, ways, notes } = await ask(
        snapshot,
        `${roll(2) ? 'shop' : 'other'}/${pick()}`,
        destination,
      );
      seen.add(`${outcome} ${ways[0]?.path}`);
      assert.notEqual(ways[0]?.why ?? notes.join(), '');
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'WEFT_EXPLAIN_INPUT', String(error));
      seen.add('input');
    }
  }
  for (const one of ['input', 'allowed kernel', 'allowed plain', 'refused refused'])
    assert.ok(seen.has(one), [...seen].join());
});
