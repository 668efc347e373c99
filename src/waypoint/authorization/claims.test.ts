/** Policies on users: the claims of a request's valid token, and the client's address. */
import assert from 'node:assert/strict';
import http from 'node:http';
import { test, type TestContext } from 'node:test';
import { connect, ask2 } from '../../../test/support/http2-client.js';
import { anyRequest, id, key, policy, workload } from '../../../test/support/mesh.js';
import {
  claimsOf,
  issuerName,
  issuerOf,
  jwtFilter,
  newKey,
  signed,
} from '../../../test/support/jwt-issuer.js';
import {
  ask,
  echoHandler,
  eventually,
  http2Upstream,
  httpUpstream,
  startWaypoint,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import type { JwtFilter } from '../../discovery/gen/weft.js';
import { parseCidr } from '../../model/address.js';
import type { AuthorizationPolicy, ClaimMatch, HttpMatch } from '../../model/policy.js';

const signer = newKey('ES256');
const claim = (path: string, values: ClaimMatch['values'], negated = false): ClaimMatch => ({
  path: path.split('.'),
  values,
  negated,
});
const exact = (value: string): ClaimMatch['values'] => [{ kind: 'exact', value }];
const users = (
  more: Partial<HttpMatch>,
): Partial<AuthorizationPolicy['rules'][number]['clauses'][number]['matches'][number]> => ({
  http: { ...anyRequest, ...more },
});
const allow = (claims: readonly ClaimMatch[], more: Partial<AuthorizationPolicy> = {}): AuthorizationPolicy =>
  policy('users', 'allow', users({ claims }), more);

async function waypointWith(
  t: TestContext,
  policies: readonly AuthorizationPolicy[],
  options: Partial<WaypointOptions> = {},
  jwt: Partial<JwtFilter> = {},
): Promise<TestWaypoint> {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    identity: id('web'),
    policies,
    ...options,
  });
  const filters = [jwtFilter([issuerOf(signer)], jwt)];
  waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters }] });
  return waypoint;
}
const statusOf = async ({ port }: TestWaypoint, claims?: Record<string, unknown>): Promise<number> =>
  (
    await ask(port, {
      headers: claims ? { authorization: `Bearer ${signed(signer, claimsOf(claims))}` } : {},
    })
  ).status;

test('claims allow and deny, for policies of the Service and of its pods', async (t) => {
  const table: [ClaimMatch[], Record<string, unknown>, Record<string, unknown>][] = [
    [[claim('iss', exact(issuerName)), claim('sub', exact('ann'))], {}, { sub: 'bob' }],
    [[claim('aud', exact('shop'))], { aud: ['pay', 'shop'] }, { aud: ['pay'] }],
    [[claim('azp', [{ kind: 'prefix', value: 'app-' }])], { azp: 'app-1' }, { azp: 'x' }],
    [[claim('org.team', exact('blue'))], { org: { team: 'blue' } }, { 'org.team': 'blue' }],
    [[claim('groups', exact('ops'))], { groups: ['dev', 'ops'] }, { groups: 'dev ops' }],
    [[claim('scope', exact('write'))], { scope: 'read write' }, { scope: 'rewrite' }],
    [[claim('level', [{ kind: 'number', value: 3 }])], { level: 3 }, { level: '3' }],
    [[claim('staff', [{ kind: 'boolean', value: true }])], { staff: true }, { staff: 'true' }],
    [[claim('sub', exact('bob'), true), claim('iss', [{ kind: 'presence' }])], {}, { sub: 'bob' }],
  ];
  for (const [claims, held, lacked] of table) {
    for (const more of [{}, { services: [key('api')] }]) {
      const waypoint = await waypointWith(t, [allow(claims, more)]);
      const what = JSON.stringify([claims, more]);
      assert.deepEqual([await statusOf(waypoint, held), await statusOf(waypoint, lacked)], [200, 403], what);
      assert.equal(await statusOf(waypoint), 403, what);
      const record = waypoint.records[1];
      assert.deepEqual(
        [record?.flag, record?.policy, record?.principal?.startsWith(issuerName)],
        ['RBAC', 'shop/users', true],
      );
    }
  }
});

test('a DENY without an exception for users denies requests without a token', async (t) => {
  const denial = policy('p', 'deny', users({ claims: [claim('groups', exact('ops'), true)] }));
  const waypoint = await waypointWith(t, [denial]);
  assert.equal(await statusOf(waypoint, { groups: ['ops'] }), 200);
  assert.equal(await statusOf(waypoint, { groups: ['dev'] }), 403);
  assert.equal(await statusOf(waypoint), 403);
});

test('a denial names the claims that were compared', async (t) => {
  const waypoint = await waypointWith(t, [
    allow([claim('org.team', exact('blue')), claim('sub', exact('bob'))]),
  ]);
  await statusOf(waypoint, {});
  await statusOf(waypoint);
  const denial = policy('q', 'deny', users({ claims: [claim('sub', exact('ann'))] }));
  waypoint.apply({ mesh: { policies: [denial] } });
  await statusOf(waypoint, {});
  assert.deepEqual(
    waypoint.records.map(({ why }) => why),
    [
      'no rule of shop/users allows it; claims: org.team, sub, of a valid token',
      'no rule of shop/users allows it; claims: org.team, sub, and there is no valid token',
      'policy shop/q rule 0 denies it; claims: sub, of a valid token',
    ],
  );
});

test('a token that is not valid has no claims, even if a dry run lets the request pass', async (t) => {
  const waypoint = await waypointWith(t, [allow([claim('sub', exact('ann'))])], {}, { dryRun: true });
  const forged = signed(newKey('ES256'));
  assert.equal((await ask(waypoint.port, { headers: { authorization: `Bearer ${forged}` } })).status, 403);
  assert.equal(await statusOf(waypoint, {}), 200);
});

test('policies see the headers that the token proves, not those that the client made up', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const values = [{ kind: 'exact', value: 'ann' } as const];
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    policies: [policy('p', 'allow', users({ headers: [{ name: 'x-user', values, negated: false }] }))],
  });
  const filters = [jwtFilter([issuerOf(signer, { claimHeaders: [{ header: 'x-user', claim: ['sub'] }] })])];
  waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters }] });
  assert.equal((await ask(waypoint.port, { headers: { 'x-user': 'ann' } })).status, 403);
  assert.equal(await statusOf(waypoint, { sub: 'bob' }), 403);
  assert.equal(await statusOf(waypoint, {}), 200);
});

test('who dials a pod’s own address has no valid token, because the Service says which tokens are valid', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const waypoint = await waypointWith(t, [allow([claim('sub', exact('ann'))])], {
    backends: { api: [upstream.port] },
    podPort: upstream.port,
  });
  assert.equal(await statusOf(waypoint, {}), 403);
});

test('the endpoint of another namespace trusts no token that this Service’s settings call valid', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const claims = [claim('iss', exact(issuerName)), claim('sub', exact('ann'))];
  const ports = [{ servicePort: 80, targetPort: upstream.port, appProtocol: 'unknown' as const }];
  const ofBank = workload('api-0', '127.0.0.1', 'node-1', {
    namespace: 'bank',
    services: new Map([[key('api'), ports]]),
  });
  const ofAll = { namespace: 'weft-system', scope: 'global' } as const;
  for (const more of [{ namespace: 'bank' }, ofAll] as const) {
    const waypoint = await waypointWith(t, [allow(claims, more)], { backends: { api: [upstream.port] } });
    assert.equal(await statusOf(waypoint, {}), 200);
    waypoint.apply({ mesh: { workloads: [ofBank] } });
    assert.equal(await statusOf(waypoint, {}), 403);
  }
});

test('a change of policy ends the requests of users that it no longer allows, and leaves those of others', async (t) => {
  const open: http.ServerResponse[] = [];
  const upstream = await httpUpstream(t, (_request, response) => {
    response.write('x');
    open.push(response);
  });
  const waypoint = await waypointWith(t, [allow([claim('sub', [{ kind: 'presence' }])])], {
    backends: { api: [upstream.port] },
  });
  const ends: string[] = [];
  let begun = 0;
  for (const sub of ['ann', 'bob']) {
    const headers = { authorization: `Bearer ${signed(signer, claimsOf({ sub }))}` };
    const request = http.get(
      { port: waypoint.port, host: '127.0.0.1', headers, agent: false },
      (response) => {
        // Before its head, a request that is no longer allowed gets a whole response.
        response.once('data', () => begun++);
        response.on('error', () => ends.push(`${sub} cut`));
        response.on('end', () => ends.push(`${sub} whole`));
      },
    );
    request.on('error', () => undefined);
  }
  await eventually(() => begun === 2, 'both have begun to get their responses');
  await eventually(() => waypoint.context.exchanges.size === 2, 'both are under way');
  waypoint.apply({ mesh: { policies: [allow([claim('sub', exact('ann'))])] } });
  await eventually(() => ends.length === 1, 'one has ended');
  assert.deepEqual(ends, ['bob cut']);
  for (const response of open) response.end();
  await eventually(() => ends.length === 2, 'the other has ended');
  assert.deepEqual(ends, ['bob cut', 'ann whole']);
});

test('the client’s address is that of its connection, whatever forwarding headers it sends', async (t) => {
  const rule = (block: string): AuthorizationPolicy =>
    policy('p', 'allow', users({ remoteIps: [parseCidr(block)] }));
  const headers = { 'x-forwarded-for': '10.1.1.1', forwarded: 'for=10.1.1.1' };
  const near = await waypointWith(t, [rule('127.0.0.0/8')]);
  assert.equal((await ask(near.port, { headers })).status, 200);
  const far = await waypointWith(t, [rule('10.0.0.0/8')]);
  assert.equal((await ask(far.port, { headers })).status, 403);
});

test('with trusted proxies the client’s address is what they say, and unknown if they do not say enough', async (t) => {
  const blocks = { remoteIps: [parseCidr('192.0.2.0/24')] };
  const rules = { allow: policy('p', 'allow', users(blocks)), deny: policy('p', 'deny', users(blocks)) };
  const statuses = async (action: 'allow' | 'deny'): Promise<number[]> => {
    const waypoint = await waypointWith(t, [rules[action]], { trustedProxies: 2 });
    const all: number[] = [];
    for (const list of ['192.0.2.1, 10.0.0.1', '192.0.2.1, 10.0.0.1, 10.0.0.2', '192.0.2.1'])
      all.push((await ask(waypoint.port, { headers: { 'x-forwarded-for': list } })).status);
    all.push((await ask(waypoint.port)).status);
    return all;
  };
  assert.deepEqual(await statuses('allow'), [200, 403, 403, 403]);
  assert.deepEqual(await statuses('deny'), [403, 200, 403, 200]);
});

test('over HTTP/2 it is the same; gRPC clients get UNAUTHENTICATED and PERMISSION_DENIED', async (t) => {
  const upstream = await http2Upstream(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end();
  });
  const waypoint = await waypointWith(t, [allow([claim('sub', exact('ann'))])], {
    backends: { api: [upstream.port] },
  });
  const session = connect(t, waypoint.port);
  const asked = async (sub: string, type: string): Promise<unknown[]> => {
    const token = sub === '' ? 'x' : signed(signer, claimsOf({ sub }));
    const { status, headers } = await ask2(session, {
      ':method': 'POST',
      ':path': '/a',
      'content-type': type,
      authorization: `Bearer ${token}`,
    });
    return [status, headers['grpc-status'], headers['www-authenticate'] !== undefined];
  };
  assert.deepEqual(await asked('ann', 'text/plain'), [200, undefined, false]);
  assert.deepEqual(await asked('bob', 'text/plain'), [403, undefined, false]);
  assert.deepEqual(await asked('', 'text/plain'), [401, undefined, true]);
  assert.deepEqual(await asked('bob', 'application/grpc'), [200, '7', false]);
  assert.deepEqual(await asked('', 'application/grpc'), [200, '16', true]);
});
