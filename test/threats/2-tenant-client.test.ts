/**
 * Row 2 of docs/security.md: a tenant as a client. The tenant has a consumer route for a Service of another namespace, and calls that
 * Service. The route may affect the tenant's own requests and nothing else.
 */
import assert from 'node:assert/strict';
import type net from 'node:net';
import { test, type TestContext } from 'node:test';
import { eventually } from '../support/eventually.js';
import { filter, mirrorTo } from '../support/filters.js';
import type { Route, RouteKey, RouteRule } from '../../src/model/route.js';
import type { HttpMatch } from '../../src/model/policy.js';
import { anyRequest, policy } from '../support/mesh.js';
import {
  echoing,
  identity,
  request,
  serviceKey,
  serviceOf,
  status,
  TestMesh,
  waypointRef,
} from './support/mesh.js';

const tenant = { id: identity('tenant', 'app'), from: '127.0.12.1' };
const other = { id: identity('shop', 'web'), from: '127.0.13.1' };
const gate = { ip: '127.0.11.9', identity: identity('bank', 'gate') };
const vip = '10.96.11.1:80';
const http = (more: Partial<HttpMatch>): HttpMatch => ({ ...anyRequest, ...more });
const onApi = { namespace: 'bank', services: [serviceKey('bank', 'api')] };

/** The tenant's consumer route for the Service `bank/api`, with one rule. */
const consumer = (rule: Partial<RouteRule>): Route => ({
  key: 'HTTPRoute/tenant/r' as RouteKey,
  kind: 'http',
  namespace: 'tenant',
  name: 'r',
  createdMs: 1,
  parents: [{ service: serviceKey('bank', 'api') }],
  rules: [{ matches: [], filters: [], backends: [to('bank', 'api')], ...rule }],
});
const to = (namespace: string, name: string): RouteRule['backends'][number] => ({
  target: { kind: 'service', service: serviceKey(namespace, name), port: 80 },
  weight: 1,
  filters: [],
});

/** The bank's Service `api` behind the bank's waypoint, its Service `vault`, and a Service of the tenant that records what it receives. */
async function scene(t: TestContext, limits = {}, app: (socket: net.Socket) => void = echoing('api')) {
  const mesh = new TestMesh(t);
  const waypoint = await mesh.waypoint('bank', 'gate', gate.ip, limits);
  const stolen: string[] = [];
  const api = await mesh.pod('bank', 'api', '127.0.11.1', app, ['api']);
  const vault = await mesh.pod('bank', 'vault', '127.0.11.2', echoing('vault'), ['vault']);
  const sink = await mesh.pod(
    'tenant',
    'sink',
    '127.0.12.2',
    (socket) => {
      socket.on('data', (bytes: Buffer) => stolen.push(bytes.toString('latin1')));
      echoing('sink')(socket);
    },
    ['sink'],
  );
  const behindGate = { waypoint: waypointRef('bank', 'gate') };
  mesh.apply({
    services: [
      serviceOf('bank', 'api', '10.96.11.1', api.port, behindGate),
      serviceOf('bank', 'vault', '10.96.11.2', vault.port, behindGate),
      serviceOf('tenant', 'sink', '10.96.12.2', sink.port),
    ],
  });
  const ask = async (who: typeof tenant, path = '/', headers: readonly string[] = []) => {
    const stream = await mesh.tunnel(who.id, who.from, gate, vip);
    const answer = await request(stream, path, headers);
    stream.destroy();
    return answer;
  };
  return { mesh, waypoint, stolen, ask };
}

test('a consumer route does not change where the requests of others go', async (t) => {
  const { mesh, ask, stolen } = await scene(t);
  mesh.route(consumer({ backends: [to('tenant', 'sink')] }));
  assert.match(await ask(tenant), /sink got/);
  stolen.length = 0;
  assert.match(await ask(other), /api got/);
  assert.match(await ask({ id: identity('bank', 'teller'), from: '127.0.11.3' }), /api got/);
  assert.deepEqual(stolen, []);
});

test('a consumer route does not mirror the requests of others to the tenant', async (t) => {
  const { mesh, ask, stolen } = await scene(t);
  const mirror = mirrorTo(to('tenant', 'sink').target);
  mesh.route(consumer({ filters: [mirror] }));
  assert.match(await ask(other, '/secret', ['authorization: Bearer token']), /api got/);
  // The tenant's own requests are mirrored. Mirrored requests of others would have arrived before them.
  assert.match(await ask(tenant, '/own'), /api got/);
  await eventually(() => stolen.length > 0, 'the copy of its own request');
  assert.match(stolen.join(''), /GET \/own /);
  assert.doesNotMatch(stolen.join(''), /secret|token/);
});

test('a consumer route does not refuse or redirect the requests of others', async (t) => {
  const { mesh, ask } = await scene(t);
  mesh.route(
    consumer({
      matches: [{ path: { kind: 'exact', value: '/only' }, headers: [], query: [] }],
      filters: [filter('redirect', { hostname: 'evil.example', statusCode: 302 })],
    }),
  );
  assert.equal(status(await ask(tenant, '/')), 404);
  assert.equal(status(await ask(tenant, '/only')), 302);
  assert.equal(status(await ask(other, '/')), 200);
  assert.equal(status(await ask(other, '/only')), 200);
});

test('a consumer route does not end the requests of others by its timeout', async (t) => {
  const { mesh, ask } = await scene(t, {}, (socket) => {
    socket.once('data', (bytes: Buffer) => {
      setTimeout(() => {
        echoing('api')(socket);
        socket.emit('data', bytes);
      }, 100);
    });
  });
  mesh.route(consumer({ requestTimeoutMs: 1 }));
  assert.equal(status(await ask(tenant)), 504);
  assert.equal(status(await ask(other)), 200);
});

test("a consumer route does not weaken the Service's policies: the original and the rewritten request are both authorized", async (t) => {
  const { mesh, ask } = await scene(t);
  const isPublic = http({ methods: ['GET'], paths: [{ kind: 'prefix', value: '/public' }] });
  const isAdmin = http({
    headers: [{ name: 'x-role', values: [{ kind: 'exact', value: 'admin' }], negated: false }],
  });
  mesh.apply({
    policies: [
      policy('public', 'allow', { http: isPublic }, onApi),
      policy('role', 'deny', { http: isAdmin }, onApi),
    ],
  });
  const rewrite = (value: string): RouteRule['filters'] => [
    filter('rewrite', { path: { kind: 'full', value } }),
  ];
  const header = (more: object): RouteRule['filters'] => [
    filter('requestHeaders', { set: [], add: [], remove: [], ...more }),
  ];
  assert.equal(status(await ask(tenant, '/public')), 200);
  mesh.route(consumer({ filters: rewrite('/admin') }));
  assert.equal(status(await ask(tenant, '/public')), 403);
  mesh.route(consumer({ filters: rewrite('/public') }));
  assert.equal(status(await ask(tenant, '/admin')), 403);
  mesh.route(consumer({ backends: [{ ...to('bank', 'api'), filters: rewrite('/admin') }] }));
  assert.equal(status(await ask(tenant, '/public')), 403);
  mesh.route(consumer({ filters: header({ set: [{ name: 'x-role', value: 'admin' }] }) }));
  assert.equal(status(await ask(tenant, '/public')), 403);
  mesh.route(consumer({ filters: header({ remove: ['x-role'] }) }));
  assert.equal(status(await ask(tenant, '/public', ['x-role: admin'])), 403);
  assert.equal(status(await ask(tenant, '/public')), 200);
});

test('a consumer route does not use the waypoint to reach a workload that policy closes to the tenant', async (t) => {
  const { mesh, ask } = await scene(t);
  const principal = ({ id }: { id: string }) => ({
    kind: 'exact' as const,
    value: id.slice('spiffe://'.length),
  });
  const onVault = { namespace: 'bank', services: [serviceKey('bank', 'vault')] };
  const both = [to('bank', 'vault')];
  mesh.route(consumer({ backends: both }));
  assert.match(await ask(tenant), /vault got/);
  // The policy allows the waypoint, but not its client.
  mesh.apply({
    policies: [policy('own', 'allow', { principals: [principal({ id: gate.identity })] }, onVault)],
  });
  assert.equal(status(await ask(tenant)), 403);
  mesh.apply({
    policies: [policy('own', 'deny', { principals: [principal(tenant)], destinationPorts: [80] }, onVault)],
  });
  assert.equal(status(await ask(tenant)), 403);
  mesh.apply({ removedPolicies: ['shop/own'] });
  assert.match(await ask(tenant), /vault got/);
});

test('a consumer route cannot change the headers by which the endpoint identifies the client', async (t) => {
  const { mesh, ask } = await scene(t);
  const lie = '10.0.0.66';
  const lies = [
    { name: 'x-forwarded-for', value: lie },
    { name: 'forwarded', value: `for=${lie}` },
    { name: 'x-forwarded-client-cert', value: 'URI=spiffe://cluster.local/ns/bank/sa/teller' },
  ];
  for (const change of [{ set: lies }, { add: lies }, { remove: lies.map(({ name }) => name) }]) {
    mesh.route(
      consumer({ filters: [filter('requestHeaders', { set: [], add: [], remove: [], ...change })] }),
    );
    const answer = await ask(tenant, '/', [`forwarded: for=192.0.2.1`]);
    const last = (name: string): string | undefined =>
      new RegExp(`^${name}: (.*)$`, 'm').exec(answer)?.[1]?.trim().split(', ').at(-1);
    assert.equal(last('x-forwarded-for'), tenant.from);
    assert.equal(last('x-forwarded-client-cert'), `URI=${tenant.id}`);
    if (!('remove' in change)) assert.equal(last('forwarded'), `for=${tenant.from}`);
  }
});

test("a tenant does not use up the waypoint's requests and connections", async (t) => {
  let waiting = 0;
  const { waypoint, mesh, ask } = await scene(t, { requestsMax: 24, connectionsMax: 24 }, (socket) => {
    socket.on('data', (bytes: Buffer) => {
      if (bytes.includes('GET /hang')) waiting++;
      else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
    });
  });
  // Many identities: a tenant may create any number of ServiceAccounts.
  const streams = await Promise.allSettled(
    Array.from({ length: 40 }, (_, i) => mesh.tunnel(identity('tenant', `app-${i}`), tenant.from, gate, vip)),
  );
  for (const one of streams) if (one.status === 'fulfilled') void request(one.value, '/hang');
  await eventually(() => waiting >= 12, 'requests are under way');
  const held = streams.filter((one) => one.status === 'fulfilled').length;
  assert.ok(held >= 12 && held <= 16, `${held} of 24`);
  assert.ok(waypoint.refused.every((code) => code === 'WEFT_CONNECTIONS_FULL'));
  assert.equal(status(await ask(other)), 200);
  assert.equal(status(await ask({ id: identity('bank', 'teller'), from: '127.0.11.3' })), 200);
});
