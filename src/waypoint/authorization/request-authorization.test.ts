import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { id, key, policy, anyRequest } from '../../../test/support/mesh.js';
import {
  ask,
  backend,
  eventually,
  httpUpstream,
  RawClient,
  route,
  startWaypoint,
  echoHandler,
  askEcho,
} from '../../../test/support/waypoint.js';
import type { HttpMatch } from '../../model/policy.js';
import type { RouteRule } from '../../model/route.js';

const http_ = (more: Partial<HttpMatch>): HttpMatch => ({ ...anyRequest, ...more });
const prefix = (value: string): RouteRule['matches'] => [
  { path: { kind: 'prefix', value }, headers: [], query: [] },
];
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('policies authorize the request as the client sent it, before a rule’s changes, at each attempt', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const backends = { api: [good.port] };
  const deny = (match: Partial<HttpMatch>, more = {}) => policy('p', 'deny', { http: http_(match) }, more);
  const rewriting = route('r', [
    {
      filters: [
        filter('requestHeaders', { set: [{ name: 'x-role', value: 'user' }], add: [], remove: ['x-bad'] }),
        filter('rewrite', { hostname: 'inner', path: { kind: 'prefix', value: '/inner' } }),
      ],
    },
  ]);
  const asked = { path: '/admin/x', headers: { 'x-role': 'admin', 'x-bad': '1', host: 'Outer.test:80' } };
  const denied: Partial<HttpMatch>[] = [
    { paths: [{ kind: 'prefix', value: '/admin' }] },
    { hosts: [{ kind: 'exact', value: 'outer.test' }] },
    { headers: [{ name: 'x-role', values: [{ kind: 'exact', value: 'admin' }], negated: false }] },
    { headers: [{ name: 'x-bad', values: [{ kind: 'presence' }], negated: false }] },
    { headers: [{ name: 'host', values: [{ kind: 'prefix', value: 'outer.test' }], negated: false }] },
    { notHosts: [{ kind: 'exact', value: 'inner' }] },
  ];
  for (const match of denied) {
    for (const more of [{}, { services: [key('api')] }]) {
      const waypoint = await startWaypoint(t, {
        backends,
        routes: [rewriting],
        policies: [deny(match, more)],
      });
      assert.equal((await ask(waypoint.port, asked)).status, 403, JSON.stringify([match, more]));
      assert.equal(waypoint.records[0]?.flag, 'RBAC');
    }
  }
  // Policies do not see what the client claims about its own certificate.
  const spoofed = await startWaypoint(t, {
    backends,
    policies: [
      policy(
        'q',
        'allow',
        {
          http: http_({
            headers: [{ name: 'x-forwarded-client-cert', values: [{ kind: 'presence' }], negated: false }],
          }),
        },
        { services: [key('api')] },
      ),
    ],
  });
  assert.equal(
    (await ask(spoofed.port, { headers: { 'x-forwarded-client-cert': 'URI=spiffe://evil' } })).status,
    403,
  );
  // A second attempt, after requests for other paths, is authorized by its own path.
  const later = await startWaypoint(t, {
    backends: { api: [1, good.port] },
    policies: [deny({ paths: [{ kind: 'prefix', value: '/admin' }] })],
    dial: (dial) => async (endpoint, client) => {
      if (endpoint.target.port !== 1) return dial(endpoint, client);
      await sleep(50);
      throw new Error('not there');
    },
  });
  const all = await Promise.all(
    Array.from({ length: 40 }, (_, i) => ask(later.port, { path: i % 2 === 0 ? '/public' : '/admin' })),
  );
  assert.deepEqual(
    all.map(({ status }) => status),
    all.map((_, i) => (i % 2 === 0 ? 200 : 403)),
  );
  assert.ok(later.records.some(({ attempts }) => attempts > 1));
});

test('the request as changed by a rule is authorized too: the rule’s author may not decide what the endpoint allows', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const backends = { api: [good.port] };
  const identity = id('web').replace('/ns/shop/', '/ns/evil/') as ReturnType<typeof id>;
  const onlyPublic = policy('p', 'allow', {
    http: http_({ methods: ['GET'], paths: [{ kind: 'prefix', value: '/public' }] }),
  });
  const rewriting = route(
    'r',
    [
      {
        matches: prefix('/public'),
        filters: [filter('rewrite', { path: { kind: 'prefix', value: '/admin' } })],
      },
    ],
    { namespace: 'evil' },
  );
  const rewritten = await startWaypoint(t, {
    backends,
    identity,
    policies: [onlyPublic],
    routes: [rewriting],
  });
  assert.equal((await ask(rewritten.port, { path: '/public/x' })).status, 403);
  const asItIs = await startWaypoint(t, { backends, identity, policies: [onlyPublic] });
  assert.equal((await ask(asItIs.port, { path: '/public/x' })).status, 200);
});

test('a Service’s policy applies to its pods by whatever Service or route a request reaches them', async (t) => {
  const admin = await httpUpstream(t, echoHandler('admin'));
  const api = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [api.port], admin: [admin.port] },
    policies: [policy('p', 'deny', { http: http_({ methods: ['POST'] }) }, { services: [key('admin')] })],
    routes: [route('r', [{ backends: [backend('admin')] }], { namespace: 'shop' })],
  });
  assert.equal((await ask(waypoint.port)).status, 200);
  assert.equal((await ask(waypoint.port, { method: 'POST', body: 'x' })).status, 403);
  assert.equal(waypoint.records.at(-1)?.policy, 'shop/p');
});

test('only the waypoint names the client: neither a rule nor a trailer can', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [good.port] },
    identity: id('web'),
    routes: [
      route('r', [
        {
          filters: [
            filter('requestHeaders', {
              set: [{ name: 'x-forwarded-client-cert', value: 'URI=spiffe://evil' }],
              add: [{ name: 'x-forwarded-client-cert', value: 'URI=spiffe://worse' }],
              remove: [],
            }),
          ],
        },
      ]),
    ],
  });
  const { headers } = await askEcho(waypoint.port);
  assert.equal(headers['x-forwarded-client-cert'], `URI=${id('web')}`);
  const client = await RawClient.open(waypoint.port);
  t.after(() => client.socket.destroy());
  client.socket.write(
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-forwarded-client-cert: URI=spiffe://evil\r\n\r\n',
  );
  await eventually(() => client.text.includes('HTTP/1.1 400'), 'it is refused');
});

test('a change of policies ends requests that are no longer allowed, and nothing else', async (t) => {
  const drips = await httpUpstream(t, (_request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('.'), 20);
    response.on('close', () => clearInterval(timer));
  });
  const waypoint = await startWaypoint(t, { backends: { api: [drips.port] } });
  const one = ask(waypoint.port, { path: '/forbidden' }).catch((error: Error) => error.message);
  const two = new Promise<string>((resolve) => {
    http.get({ port: waypoint.port, path: '/fine', host: '127.0.0.1' }, (response) => {
      response.resume();
      response.once('error', () => resolve('broken'));
      setTimeout(() => {
        resolve('goes on');
        response.destroy();
      }, 600);
    });
  });
  await eventually(() => waypoint.context.exchanges.size === 2, 'both are under way');
  await sleep(100);
  const deny = policy('late', 'deny', {
    http: http_({ paths: [{ kind: 'prefix', value: '/forbidden' }] }),
  });
  waypoint.apply({ mesh: { policies: [deny] } });
  assert.notEqual(typeof (await one), 'object');
  assert.equal(waypoint.records[0]?.flag, 'RBAC');
  assert.equal(await two, 'goes on');
});
