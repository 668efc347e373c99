/** Which requests are asked for: of rules and routes, and of whoever tries to go around the decision. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  askFilter,
  checkResponse,
  grpcDecisionService,
  header,
  okWith,
} from '../../../test/support/decision-services.js';
import { scene } from '../../../test/support/decision-scenes.js';
import { filter } from '../../../test/support/filters.js';
import { identity, key, policy, service as meshService, uid } from '../../../test/support/mesh.js';
import {
  ask,
  backend,
  echoHandler,
  eventually,
  httpUpstream,
  rawUpstream,
  RawClient,
  route,
  startWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import type { RouteFilter } from '../../model/route.js';
import type { ServiceKey } from '../../model/workload.js';

test('a rule of a route asks for its own requests', async (t) => {
  const service = await grpcDecisionService(t, () => checkResponse({ status: { code: 7 } }));
  const { ask: send } = await scene(t, [service.port], [], {
    routes: [
      route('r', [
        {
          matches: [{ path: { kind: 'prefix', value: '/in' }, headers: [], query: [] }],
          filters: [askFilter()],
        },
        { matches: [{ path: { kind: 'prefix', value: '/' }, headers: [], query: [] }] },
      ]),
    ],
  });
  assert.deepEqual([(await send({ path: '/in' })).status, (await send()).status], [403, 200]);
});

test('a route of the Service may go without, if the policy lets it; one of the client may not', async (t) => {
  const service = await grpcDecisionService(t, () => checkResponse({ status: { code: 7 } }));
  const open = [
    {
      matches: [{ path: { kind: 'prefix', value: '/health' } as const, headers: [], query: [] }],
      withoutExternalAuthorization: true as const,
    },
    { matches: [{ path: { kind: 'prefix', value: '/' } as const, headers: [], query: [] }] },
  ];
  const {
    ask: send,
    set,
    waypoint,
  } = await scene(t, [service.port], [askFilter({ routesMayDisable: true })], {
    routes: [route('r', open)],
  });
  assert.deepEqual([(await send({ path: '/health' })).status, (await send()).status], [200, 403]);
  set(askFilter());
  assert.equal((await send({ path: '/health' })).status, 403);
  set(askFilter({ routesMayDisable: true }));
  waypoint.apply({ routes: [route('r', open, { namespace: 'web' })], removedRoutes: [] });
  waypoint.apply({ removedRoutes: ['HTTPRoute/shop/r'] });
  assert.equal((await send({ path: '/health' })).status, 403);
});

test('a header that only a decision may set leads to no route without a decision', async (t) => {
  const service = await grpcDecisionService(t, () => checkResponse({ status: { code: 7 } }));
  const all = { path: { kind: 'prefix' as const, value: '/' }, query: [] };
  const inner = [{ name: 'x-inner', value: 'yes', kind: 'exact' as const }];
  const { ask: send } = await scene(
    t,
    [service.port],
    [askFilter({ routesMayDisable: true, upstreamHeaders: ['x-inner'] })],
    {
      routes: [
        route('r', [
          { matches: [{ ...all, headers: inner }], withoutExternalAuthorization: true },
          { matches: [{ ...all, headers: [] }] },
        ]),
      ],
    },
  );
  assert.equal((await send({ headers: { 'x-inner': 'yes' } })).status, 403);
  assert.equal((await send()).status, 403);
});

test('trailers cannot set the headers that only a decision may set', async (t) => {
  const service = await grpcDecisionService(t);
  const trailers: unknown[] = [];
  const upstream = await httpUpstream(t, (request, response) => {
    request.resume();
    request.on('end', () => {
      trailers.push({ ...request.trailers });
      response.end();
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port], authz: [service.port] } });
  const named = { upstreamHeaders: ['x-user', 'x-acme-*'] };
  const later = { ...named, name: 'TrafficPolicy shop/later main' };
  for (const filters of [
    [askFilter(named)],
    [askFilter({ ...named, bodyBytesMax: 100 })],
    // The first filter has read the trailers before the second one begins.
    [askFilter({ bodyBytesMax: 100 }), askFilter(later)],
  ]) {
    waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters }] });
    const client = await RawClient.open(waypoint.port);
    client.write(
      'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-user: root\r\nx_user: root\r\nx-acme-id: 1\r\nx-sum: 1\r\n\r\n',
    );
    const count = trailers.length;
    await eventually(() => trailers.length > count, 'the request arrives');
    assert.deepEqual(trailers.at(-1), { 'x-sum': '1' });
  }
});

test('a request that is mirrored after its body was read is mirrored whole', async (t) => {
  const mirrored: string[] = [];
  const service = await grpcDecisionService(t);
  const copy = await httpUpstream(t, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (bytes: Buffer) => parts.push(bytes));
    request.on('end', () => {
      mirrored.push(Buffer.concat(parts).toString());
      response.end();
    });
  });
  const upstream = await httpUpstream(t, echoHandler('api'));
  const mirror = filter('mirror', {
    backend: { service: key('copy'), port: 80, invalid: '' },
    numerator: 1,
    denominator: 1,
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port], authz: [service.port], copy: [copy.port] },
    routes: [route('r', [{ filters: [mirror] }])],
  });
  waypoint.apply({
    servicePolicies: [
      { service: key('api'), port: 80, origins: [], filters: [askFilter({ bodyBytesMax: 1_000 })] },
    ],
  });
  await ask(waypoint.port, { method: 'POST', body: 'text' });
  await eventually(() => mirrored.length === 1, 'the copy');
  assert.deepEqual(mirrored, ['text']);
});

test('a route of another Service does not evade the decision, nor does a mirror or the address of a pod', async (t) => {
  const service = await grpcDecisionService(t, () => checkResponse({ status: { code: 7 } }));
  const copied: string[] = [];
  const other = await httpUpstream(t, (request, response) => {
    copied.push(request.url ?? '');
    response.end();
  });
  const upstream = await httpUpstream(t, echoHandler('api'));
  const mirror = filter('mirror', {
    backend: { service: key('guarded'), port: 80, invalid: '' },
    numerator: 1,
    denominator: 1,
  });
  const at = (value: string) => [{ path: { kind: 'prefix' as const, value }, headers: [], query: [] }];
  const options = { api: [upstream.port], authz: [service.port], guarded: [other.port] };
  const guard = (filters: RouteFilter[]) => ({
    servicePolicies: [{ service: key('guarded'), port: 80, origins: [], filters }],
  });
  const waypoint = await startWaypoint(t, {
    backends: options,
    routes: [
      route('r', [
        { matches: at('/to'), backends: [backend('guarded')], withoutExternalAuthorization: true },
        { matches: at('/mirror'), filters: [mirror] },
      ]),
    ],
  });
  waypoint.apply(guard([askFilter({ routesMayDisable: true })]));
  assert.equal((await ask(waypoint.port, { path: '/to' })).status, 403);
  assert.equal((await ask(waypoint.port, { path: '/mirror' })).status, 200);
  assert.deepEqual([copied, waypoint.mirrored], [[], ['denied']]);
  waypoint.apply(guard([askFilter({ dryRun: true })]));
  assert.equal((await ask(waypoint.port, { path: '/to' })).status, 200);

  const pod = await startWaypoint(t, { backends: options, podPort: upstream.port });
  const ofApi = (filters: RouteFilter[]) =>
    pod.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters }] });
  assert.equal((await ask(pod.port)).status, 200);
  ofApi([askFilter()]);
  assert.equal((await ask(pod.port)).status, 403);
});

test('a connection that is not HTTP is refused at a port that demands decisions', async (t) => {
  const service = await grpcDecisionService(t);
  const port = await rawUpstream(t, (socket) => void socket.write('hello'));
  const waypoint = await startWaypoint(t, { backends: { api: [port], authz: [service.port] } });
  const greeted = await RawClient.open(waypoint.port);
  greeted.write(Buffer.from([0x16, 3, 1, 0, 5]));
  await greeted.until((text) => text === 'hello');
  waypoint.apply({
    servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: [askFilter()] }],
  });
  const refused = await RawClient.open(waypoint.port);
  refused.write(Buffer.from([0x16, 3, 1, 0, 5]));
  await refused.untilClosed();
  assert.equal(refused.text, '');
  assert.match(waypoint.relayed.at(-1) ?? '', /demands a decision/);
});

test("the decision service's own policies have to allow the waypoint", async (t) => {
  const service = await grpcDecisionService(t);
  const allowing = (namespace: string): WaypointOptions['policies'] => [
    policy(
      'p',
      'allow',
      { namespaces: [{ kind: 'exact', value: namespace }] },
      {
        scope: 'workload',
        services: [key('authz')],
      },
    ),
  ];
  for (const [namespace, status] of [
    ['shop', 200],
    ['web', 503],
  ] as const) {
    const { ask: send } = await scene(t, [service.port], [askFilter()], {
      policies: allowing(namespace) ?? [],
      identity: identity('web', 'client'),
    });
    assert.equal((await send()).status, status, namespace);
  }
  assert.equal(service.asked.length, 1);
});

test('a Service that demands decisions is no decision service: a call of the waypoint would evade them', async (t) => {
  const service = await grpcDecisionService(t);
  const { ask: send, waypoint } = await scene(t, [service.port], [askFilter()]);
  assert.equal((await send()).status, 200);
  waypoint.apply({
    servicePolicies: [{ service: key('authz'), port: 80, origins: [], filters: [askFilter()] }],
  });
  assert.equal((await send()).status, 503);
  assert.match(waypoint.records.at(-1)?.why ?? '', /itself demands decisions/);
});

test('a second Service with the same pods does not evade the decision of the first', async (t) => {
  const service = await grpcDecisionService(t, () => checkResponse({ status: { code: 7 } }));
  const upstream = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port], authz: [service.port], second: [] },
  });
  const pod = waypoint.context.state.view.workload(uid('api-0'));
  assert.ok(pod);
  const mapping = [...(pod.services.get(key('api')) ?? [])];
  waypoint.apply({
    mesh: { workloads: [{ ...pod, services: new Map([...pod.services, [key('second'), mapping]]) }] },
    servicePolicies: [{ service: key('second'), port: 80, origins: [], filters: [askFilter()] }],
  });
  assert.equal((await ask(waypoint.port)).status, 403);
  const allowed = () => checkResponse(okWith({}));
  service.answer = allowed;
  service.asked.length = 0;
  waypoint.apply({
    servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: [askFilter()] }],
  });
  assert.equal((await ask(waypoint.port)).status, 200);
  assert.equal(service.asked.length, 1, 'a policy of both is asked once');
  service.answer = () => checkResponse({ status: { code: 7 } });
  waypoint.apply({ removedServicePolicies: [`${key('second')}:80`, `${key('api')}:80`] });
  assert.equal((await ask(waypoint.port)).status, 200);
});

test("a client's own route does not go around the decision: what its rule makes of the request is asked about", async (t) => {
  const service = await grpcDecisionService(t, ({ request }) =>
    checkResponse(
      request?.http?.path === '/admin'
        ? { status: { code: 7 } }
        : okWith({ headers: [header('x-user', 'nobody')] }),
    ),
  );
  const to = (value: string) => filter('rewrite', { path: { kind: 'full', value } });
  const named = filter('requestHeaders', { set: [{ name: 'x-user', value: 'admin' }] });
  const mirror = filter('mirror', {
    backend: { service: key('api'), port: 80, invalid: '' },
    numerator: 1,
    denominator: 1,
  });
  const at = (value: string) => [{ path: { kind: 'prefix' as const, value }, headers: [], query: [] }];
  const rules = [
    { matches: at('/public'), filters: [to('/admin')] },
    { matches: at('/user'), filters: [named] },
    { matches: at('/copy'), filters: [mirror] },
    { matches: at('/') },
  ];
  const of = (namespace: string) =>
    scene(t, [service.port], [askFilter({ upstreamHeaders: ['x-user'] })], {
      identity: identity('web', 'client'),
      routes: [route('r', rules, { namespace })],
    });
  const consumer = await of('web');
  assert.equal((await consumer.ask({ path: '/public' })).status, 403);
  assert.equal((await consumer.ask({ path: '/user' })).status, 200);
  assert.equal(consumer.arrived.at(-1)?.headers['x-user'], 'nobody');
  assert.equal((await consumer.ask({ path: '/copy' })).status, 200);
  assert.deepEqual(consumer.waypoint.mirrored, ['denied']);
  service.asked.length = 0;
  assert.equal((await consumer.ask({ path: '/plain' })).status, 200);
  assert.equal(service.asked.length, 1, 'a rule that changes nothing costs no further call');
  // The owner of the policy may say otherwise.
  const producer = await of('shop');
  assert.equal((await producer.ask({ path: '/public' })).status, 200);
  assert.equal(producer.arrived.at(-1)?.url, '/admin');
});

test('a Service of another namespace with the same policy does not go around the decision', async (t) => {
  const service = await grpcDecisionService(t, () => checkResponse({ status: { code: 7 } }));
  const ofGateway = askFilter({ name: 'TrafficPolicy infra/guard main', routesMayDisable: true });
  const { ask: send, waypoint } = await scene(t, [service.port], [ofGateway], {
    routes: [route('r', [{ withoutExternalAuthorization: true }])],
  });
  assert.equal((await send()).status, 200);
  const pod = waypoint.context.state.view.workload(uid('api-0'));
  assert.ok(pod);
  const bank = 'bank/api.bank.svc.cluster.local' as ServiceKey;
  waypoint.apply({
    mesh: {
      services: [meshService('api', '10.96.9.9', 8080, { key: bank, namespace: 'bank' })],
      workloads: [
        {
          ...pod,
          namespace: 'bank',
          services: new Map([...pod.services, [bank, [...(pod.services.get(key('api')) ?? [])]]]),
        },
      ],
    },
    servicePolicies: [{ service: bank, port: 80, origins: [], filters: [ofGateway] }],
  });
  assert.equal((await send()).status, 403);
});
