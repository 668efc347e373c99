import assert from 'node:assert/strict';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import { mirrorTo } from '../../../test/support/filters.js';
import { behind, id, key, policy, service, workload } from '../../../test/support/mesh.js';
import {
  ask,
  backend,
  eventually,
  httpUpstream,
  selfReference,
  meshOf,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
  echoHandler,
  askEcho,
} from '../../../test/support/waypoint.js';
import type { AuthorizationPolicy } from '../../model/policy.js';
import type { WaypointUpdate } from '../state/waypoint-state.js';

const web = id('web');
const from = { principals: [{ kind: 'exact' as const, value: web.slice('spiffe://'.length) }] };
const by = (...names: string[]) => ({ services: names.map(key) });
const anybody = { ...from, principals: [{ kind: 'presence' as const }] };

/** The Service `far`, which has another waypoint, and its pod. */
const far = (port: number, more: { policies?: readonly string[] } = {}): WaypointUpdate['mesh'] => ({
  services: [
    service('far', '10.96.7.7', port, {
      waypoint: { kind: 'hostname', service: key('waypoint-of-far'), hbonePort: 15008 },
    }),
  ],
  workloads: [workload('far-0', '127.0.0.1', 'node-2', { ...behind('far', port), ...more })],
});

async function chain(
  t: TestContext,
  policies: readonly AuthorizationPolicy[],
  named: readonly string[] = [],
) {
  const server = await httpUpstream(t, echoHandler('far'));
  const dialed: string[] = [];
  const waypoint = await startWaypoint(t, {
    backends: { api: [server.port] },
    routes: [route('r', [{ backends: [backend('far')] }])],
    identity: web,
    dial: () => (endpoint) => {
      dialed.push(endpoint.via ? 'its waypoint' : 'the pod');
      return new Promise((resolve) => {
        const socket = net.connect(server.port, '127.0.0.1', () => resolve(socket));
      });
    },
  });
  const mesh = far(server.port, { policies: named }) ?? {};
  waypoint.apply({ mesh: { ...mesh, policies } });
  return { waypoint, dialed, port: server.port };
}

test('behind another waypoint, the backend Service’s policies apply to the client, not to this waypoint', async (t) => {
  const open = await chain(t, []);
  assert.equal((await askEcho(open.waypoint.port)).name, 'far');
  assert.deepEqual(open.dialed, ['its waypoint']);
  const closed = await chain(t, [policy('p', 'deny', from, by('far'))]);
  assert.equal((await ask(closed.waypoint.port)).status, 403);
  assert.equal(closed.waypoint.records.at(-1)?.policy, 'shop/p');
  assert.deepEqual(closed.dialed, []);
  const byPort = await chain(t, [policy('p', 'deny', { ...from, destinationPorts: [80] }, by('far'))]);
  assert.equal((await ask(byPort.waypoint.port)).status, 403);
  const allowed = await chain(t, [policy('p', 'allow', { ...from, destinationPorts: [80] }, by('far'))]);
  assert.equal((await ask(allowed.waypoint.port)).status, 200);
  const others = await chain(t, [
    policy('p', 'allow', { principals: [{ kind: 'exact', value: 'x' }] }, by('far')),
  ]);
  assert.equal((await ask(others.waypoint.port)).status, 403);
});

test('behind another waypoint, the pods’ policies apply to the client, by the pods’ own port', async (t) => {
  const open = await chain(t, []);
  const select = (port: number) =>
    policy('pods', 'deny', { ...from, destinationPorts: [port] }, { scope: 'workload' });
  const closed = await chain(t, [], ['shop/pods']);
  assert.equal((await ask(closed.waypoint.port)).status, 200);
  closed.waypoint.apply({ mesh: { policies: [select(closed.port)] } });
  assert.equal((await ask(closed.waypoint.port)).status, 403);
  // The policies of every pod that the other waypoint may choose apply, in any order of pods.
  const mesh = far(open.port) ?? {};
  open.waypoint.apply({
    mesh: {
      workloads: [
        ...(mesh.workloads ?? []),
        workload('far-1', '127.0.0.2', 'node-3', { ...behind('far', open.port), policies: ['shop/pods'] }),
      ],
      policies: [select(open.port)],
    },
  });
  assert.equal((await ask(open.waypoint.port)).status, 403);
});

test('a DENY of a Service matches by the Service’s port and by the pod’s, an ALLOW only by the Service’s', async (t) => {
  const server = await httpUpstream(t, echoHandler('api'));
  const status = async (one: AuthorizationPolicy) => {
    const waypoint = await startWaypoint(t, {
      backends: { api: [server.port] },
      policies: [one],
      identity: web,
    });
    return (await ask(waypoint.port)).status;
  };
  const ports = (action: 'allow' | 'deny', ...destinationPorts: number[]) =>
    status(policy('p', action, { ...anybody, destinationPorts }, by('api')));
  const notPorts = (action: 'allow' | 'deny', ...notDestinationPorts: number[]) =>
    status(policy('p', action, { ...anybody, notDestinationPorts }, by('api')));
  assert.equal(await ports('deny', 80), 403);
  assert.equal(await ports('deny', server.port), 403);
  assert.equal(await ports('deny', 81), 200);
  assert.equal(await ports('allow', 80), 200);
  assert.equal(await ports('allow', server.port), 403);
  // "All but the Service's port 80" denies nothing at port 80, whatever the pod's port is.
  assert.equal(await notPorts('deny', 80), 200);
  assert.equal(await notPorts('deny', server.port), 403);
});

test('if two ports of a Service lead to one port of the pod, the port that was dialed counts', async (t) => {
  const server = await httpUpstream(t, echoHandler('api'));
  const both = [80, 81].map((servicePort) => ({
    servicePort,
    targetPort: server.port,
    appProtocol: 'unknown' as const,
  }));
  const mesh = {
    services: [service('api', '10.96.0.1', server.port, { ports: both, waypoint: selfReference })],
    workloads: [workload('api-0', '127.0.0.1', 'node-1', { services: new Map([[key('api'), both]]) })],
  };
  const status = async (port: number) => {
    const waypoint = await startWaypoint(t, { backends: { api: [server.port] }, identity: web });
    waypoint.apply({
      mesh: {
        ...mesh,
        policies: [policy('p', 'allow', { ...anybody, destinationPorts: [port] }, by('api'))],
      },
    });
    return (await ask(waypoint.port)).status;
  };
  assert.equal(await status(80), 200);
  assert.equal(await status(81), 403);
});

test('the policies of a TCP route’s backend Service apply to connections, and an unknown backend gets none', async (t) => {
  const port = await rawUpstream(t, (socket) => socket.end('hello'));
  const tcp = (name: string) => route('r', [{ backends: [backend(name)] }], { kind: 'tcp' });
  const text = async (name: string, policies: readonly AuthorizationPolicy[], isRemoved = false) => {
    const waypoint = await startWaypoint(t, {
      backends: { api: [port], other: [] },
      protocol: 'tcp',
      routes: [tcp(name)],
      policies,
      identity: web,
    });
    // The endpoint is written by hand, so that only the route relates it to the Service.
    waypoint.apply({
      mesh: {
        workloads: [workload('slice', '127.0.0.1', 'node-1', { ...behind('other', port), tunnel: 'none' })],
        ...(isRemoved ? { removed: [key('other')] } : {}),
      },
    });
    const client = await RawClient.open(waypoint.port);
    t.after(() => client.socket.destroy());
    await client.untilClosed();
    return { text: client.text, why: waypoint.relayed.at(-1) };
  };
  assert.equal((await text('other', [])).text, 'hello');
  const denied = await text('other', [policy('p', 'deny', from, by('other'))]);
  assert.equal(denied.text, '');
  assert.match(denied.why ?? '', /shop\/p/);
  const removedService = await text('other', [], true);
  assert.equal(removedService.text, '');
  assert.match(removedService.why ?? '', /Service shop\/other\S* with port 80 is unknown/);
});

test('a mirror is a request to another Service, whose policies apply to the client', async (t) => {
  const mirrored: string[] = [];
  const api = await httpUpstream(t, echoHandler('api'));
  const copy = await httpUpstream(t, (request, response) => {
    mirrored.push(request.url ?? '');
    response.end();
  });
  const mirror = {
    filters: [mirrorTo(backend('copy').target)],
  };
  const waypoint = await startWaypoint(t, {
    backends: { api: [api.port], copy: [copy.port] },
    routes: [route('r', [mirror])],
    identity: web,
  });
  assert.equal((await ask(waypoint.port, { path: '/1' })).status, 200);
  await eventually(() => mirrored.includes('/1'), 'the mirror has the request');
  waypoint.apply({
    mesh: { policies: [policy('p', 'deny', { ...from, destinationPorts: [80] }, by('copy'))] },
  });
  assert.equal((await ask(waypoint.port, { path: '/2' })).status, 200);
  waypoint.apply({ mesh: { removedPolicies: ['shop/p'] } });
  assert.equal((await ask(waypoint.port, { path: '/3' })).status, 200);
  await eventually(() => mirrored.includes('/3'), 'the mirror has the last');
  assert.deepEqual(mirrored, ['/1', '/3']);
});

/** A waypoint with a request and a byte connection under way, both routed from `api` to `other`. */
async function underWay(t: TestContext) {
  const drips = await httpUpstream(t, (request, response) => {
    if (request.url === '/short') return void response.end();
    response.writeHead(200);
    const timer = setInterval(() => response.write('.'), 10);
    response.on('close', () => clearInterval(timer));
  });
  const bytes = await rawUpstream(t, (socket) => void socket.write('hello'));
  const http = await startWaypoint(t, {
    backends: { api: [], other: [drips.port] },
    routes: [route('r', [{ backends: [backend('other')] }])],
    identity: web,
  });
  const tcp = await startWaypoint(t, {
    backends: { api: [], other: [bytes] },
    protocol: 'tcp',
    routes: [route('r', [{ backends: [backend('other')] }], { kind: 'tcp' })],
    identity: web,
  });
  const request = await RawClient.open(http.port);
  request.write('GET / HTTP/1.1\r\nhost: api\r\n\r\n');
  await request.until((text) => text.includes('.'));
  const connection = await RawClient.open(tcp.port);
  await connection.until((text) => text === 'hello');
  t.after(() => {
    request.socket.destroy();
    connection.socket.destroy();
  });
  return {
    http,
    tcp,
    request,
    connection,
    apply: (mesh: NonNullable<WaypointUpdate['mesh']>) => http.apply({ mesh }) + tcp.apply({ mesh }),
  };
}

for (const [what, name] of [
  ['that was asked', 'api'],
  ['that a route sends to', 'other'],
] as const) {
  test(`a policy of the Service ${what} ends requests and connections under way`, async (t) => {
    const { http, tcp, request, connection, apply } = await underWay(t);
    apply({ policies: [policy('late', 'deny', from, by(name))] });
    assert.equal(await request.untilClosed('the request'), 'reset');
    assert.equal(await connection.untilClosed('the connection'), 'reset');
    await eventually(
      () => http.context.connections.size + tcp.context.connections.size === 0,
      'no exchange is left',
    );
    assert.equal(http.records.at(-1)?.flag, 'RBAC');
    assert.equal(http.records.at(-1)?.policy, 'shop/late');
  });
}

for (const [what, change] of [
  ['is served by another waypoint', { services: [service('api', '10.96.0.1', 8080)] }],
  ['is there no more', { removed: [key('api')] }],
] as const) {
  test(`a Service that ${what} ends requests and connections under way, and refuses new requests on an open connection`, async (t) => {
    const { http, request, connection, apply } = await underWay(t);
    const idle = await RawClient.open(http.port);
    t.after(() => idle.socket.destroy());
    idle.write('GET /short HTTP/1.1\r\nhost: api\r\n\r\n');
    await idle.until((text) => text.includes('\r\n\r\n'));
    apply(change);
    assert.equal(await request.untilClosed('the request'), 'reset');
    assert.equal(await connection.untilClosed('the connection'), 'reset');
    assert.equal(http.records.at(-1)?.code, 'WEFT_NOT_SERVED');
    const before = idle.text.length;
    idle.write('GET / HTTP/1.1\r\nhost: api\r\n\r\n');
    await idle.until((text) => text.slice(before).includes('\r\n\r\n'));
    assert.match(idle.text.slice(before), /^HTTP\/1.1 503 /);
  });
}

test('an update that affects nothing under way rechecks nothing', async (t) => {
  const { apply, request, connection } = await underWay(t);
  const mesh = meshOf({ elsewhere: [1234] });
  const unrelated = [
    workload('stranger', '10.9.9.9', 'node-7', { namespace: 'far', services: new Map() }),
    workload('stranger-2', '10.9.9.8', 'node-7', { ...behind('elsewhere', 1234) }),
  ];
  assert.equal(apply({ workloads: unrelated }), 0);
  assert.equal(apply({ services: [service('elsewhere', '10.96.9.9')] }), 0);
  assert.equal(apply({ policies: [policy('p', 'deny', from, by('elsewhere'))] }), 0);
  assert.equal(apply({ policies: [policy('q', 'deny', from, { namespace: 'far' })] }), 0);
  assert.equal(apply({ policies: [policy('r', 'deny', from, { scope: 'workload' })] }), 0);
  assert.equal(apply({ removed: [...(mesh.workloads ?? []).map(({ uid }) => uid), key('elsewhere')] }), 0);
  // An update that affects them rechecks them.
  assert.ok(apply({ policies: [policy('s', 'deny', { destinationPorts: [1] })] }) >= 2);
  assert.ok(apply({ removedPolicies: ['shop/s'] }) >= 2);
  assert.ok(apply({ services: [service('other', '10.96.0.2', 8080, { waypoint: selfReference })] }) >= 2);
  assert.equal(request.closed ?? connection.closed, undefined);
});
