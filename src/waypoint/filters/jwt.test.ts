/** JSON Web Tokens through a waypoint: which requests reach the endpoint, and what of the token. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { identity, key } from '../../../test/support/mesh.js';
import {
  allAlgorithms,
  bearer,
  claimsOf,
  inSeconds,
  issuerName,
  issuerOf,
  jwtFilter,
  newKey,
  policyName,
  publicPem,
  signed,
} from '../../../test/support/jwt-issuer.js';
import { key1 as ec, scene, withPolicy } from '../../../test/support/jwt-scene.js';
import {
  askEcho,
  eventually,
  httpUpstream,
  RawClient,
  route,
  startWaypoint,
  type ClientRequest,
} from '../../../test/support/waypoint.js';
import type { JwtIssuer } from '../../discovery/gen/weft.js';
import type { RouteFilter } from '../../model/route.js';

test('a request with a valid token reaches the endpoint, which gets neither the token nor headers that the client made up', async (t) => {
  const { waypoint } = await withPolicy(t, {
    claimHeaders: [
      { header: 'X-User', claim: ['sub'] },
      { header: 'x-team', claim: ['org', 'team'] },
      { header: 'x-groups', claim: ['groups'] },
      { header: 'x-absent', claim: ['absent'] },
    ],
    payloadHeader: 'x-payload',
  });
  const token = signed(ec, claimsOf({ org: { team: 'blue' }, groups: ['a', 'b'], admin: true }));
  const made = { 'x-user': 'root', X_User: 'root', 'x-absent': 'root', 'x-payload': 'root' };
  const { headers } = await askEcho(waypoint.port, {
    headers: { authorization: `Bearer ${token}`, ...made },
  });
  assert.equal(headers['authorization'], undefined);
  assert.deepEqual(
    ['x-user', 'x_user', 'x-team', 'x-groups', 'x-absent'].map((name) => headers[name]),
    ['ann', undefined, 'blue', 'a,b', undefined],
  );
  assert.equal(headers['x-payload'], token.split('.')[1]);
  const anonymous = await askEcho(waypoint.port, { headers: made });
  assert.deepEqual(
    Object.keys(anonymous.headers).filter((name) => name in made || name === 'x_user'),
    [],
  );
  const [first] = waypoint.records;
  assert.equal(first?.principal, `${issuerName}/ann`);
});

test('all algorithms of asymmetric keys are verified', async (t) => {
  const keys = allAlgorithms.map((algorithm) => newKey(algorithm));
  const { result } = await scene(t, [jwtFilter([issuerOf(keys)])]);
  for (const one of keys) {
    assert.equal(await result(signed(one)), '200', one.algorithm);
    const token = signed(one);
    const at = token.lastIndexOf('.') + 10;
    const other = `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`;
    assert.equal(await result(other), '401 signature', one.algorithm);
  }
});

test('a token that is not valid gets 401 without the reason; log and metric have it', async (t) => {
  const { waypoint, result, ask } = await withPolicy(t, { audiences: ['shop', 'pay'] });
  assert.equal(await result(signed(ec)), '200');
  const [header = '', payload = '', signature = ''] = signed(ec).split('.');
  const b64 = (text: string): string => Buffer.from(text).toString('base64url');
  const nested = (depth: number): unknown => (depth === 0 ? 1 : { a: nested(depth - 1) });
  const hs256 = `${b64(JSON.stringify({ alg: 'HS256', kid: 'k1' }))}.${payload}`;
  const hmac = (secret: string): string => createHmac('sha256', secret).update(hs256).digest('base64url');
  const { kid: _kid, alg: _alg, ...bare } = ec.jwk as Record<string, unknown>;
  const json = JSON.stringify(claimsOf());
  const refused: [string, string, string][] = [
    ['expired', 'expired', signed(ec, claimsOf({ exp: inSeconds(-10) }))],
    ['not yet valid', 'not-yet-valid', signed(ec, claimsOf({ nbf: inSeconds(60) }))],
    ['issued in the future', 'not-yet-valid', signed(ec, claimsOf({ iat: inSeconds(60) }))],
    ['for another audience', 'audience', signed(ec, claimsOf({ aud: ['bank', 'Shop'] }))],
    ['without an audience', 'audience', signed(ec, { iss: issuerName, exp: inSeconds(60) })],
    ['of another issuer', 'unknown-issuer', signed(ec, claimsOf({ iss: `${issuerName}/` }))],
    ['without an issuer', 'malformed', signed(ec, { sub: 'ann' })],
    ['of an unknown key', 'unknown-key', signed(ec, claimsOf(), { kid: 'k2' })],
    ['of another key with the same ID', 'signature', signed(newKey('ES256', 'k1'))],
    ['of a key in its own header', 'signature', signed(newKey('ES256', 'k1'), claimsOf(), { jwk: bare })],
    ['without a signature', 'malformed', `${header}.${payload}.`],
    ['with algorithm none', 'algorithm', signed(ec, claimsOf(), { alg: 'none' })],
    ['with algorithm none in capitals', 'algorithm', signed(ec, claimsOf(), { alg: 'NONE' })],
    ['with the public key as a secret', 'algorithm', `${hs256}.${hmac(publicPem(ec))}`],
    ['with another algorithm of the curve’s family', 'unknown-key', signed(ec, claimsOf(), { alg: 'ES384' })],
    ['with an algorithm of another type', 'unknown-key', signed(ec, claimsOf(), { alg: 'RS256' })],
    ['with an algorithm that is no text', 'malformed', signed(ec, claimsOf(), { alg: ['ES256'] })],
    ['with a key ID that is no text', 'malformed', signed(ec, claimsOf(), { kid: 1 })],
    ['with critical extensions', 'malformed', signed(ec, claimsOf(), { crit: ['b64'], b64: false })],
    ['of another kind', 'malformed', signed(ec, claimsOf(), { typ: 'logout+jwt' })],
    [
      'with two signatures',
      'malformed',
      JSON.stringify({
        payload,
        signatures: [
          { protected: header, signature },
          { protected: header, signature },
        ],
      }),
    ],
    ['with two signatures in a row', 'malformed', `${header}.${payload}.${signature}.${signature}`],
    ['encrypted', 'malformed', `${header}.${payload}.${payload}.${payload}.${signature}`],
    ['huge', 'too-large', signed(ec, claimsOf({ filler: 'x'.repeat(8_000) }))],
    ['deeply nested', 'malformed', signed(ec, claimsOf({ nested: nested(17) }))],
    ['with many claims', 'malformed', signed(ec, claimsOf({ list: Array(1_001).fill(1) }))],
    ['with a claim twice', 'malformed', signed(ec, `${json.slice(0, -1)},"sub":"root"}`)],
    ['with a claim twice, escaped', 'malformed', signed(ec, `${json.slice(0, -1)},"s\\u0075b":"root"}`)],
    ['with a nested claim twice', 'malformed', signed(ec, `${json.slice(0, -1)},"a":[{"b":1,"b":2}]}`)],
    ['with an algorithm twice', 'malformed', signed(ec, claimsOf(), '{"alg":"none","alg":"ES256"}')],
    ['with a time that is a text', 'malformed', signed(ec, claimsOf({ exp: String(inSeconds(60)) }))],
    ['with a time without bound', 'malformed', signed(ec, `${json.slice(0, -1)},"nbf":-1e999}`)],
    ['with padding', 'malformed', `${header}=.${payload}.${signature}`],
    [
      'with unused bits',
      'malformed',
      `${header}.${payload.slice(0, -1)}${payload.at(-1) === 'B' ? 'C' : 'B'}.${signature}`,
    ],
    [
      'with text that is no UTF-8',
      'malformed',
      `${header}.${Buffer.from('{"iss":"\xff"}', 'latin1').toString('base64url')}.${signature}`,
    ],
    ['that is a list', 'malformed', signed(ec, '[]')],
    ['with spaces', 'malformed', `${header}. ${payload}.${signature}`],
    ['twice in one field', 'malformed', `${signed(ec)}, Bearer ${signed(ec)}`],
  ];
  for (const [what, reason, token] of refused) {
    // The second time it is remembered.
    for (let i = 0; i < 2; i++) assert.equal(await result(token), `401 ${reason}`, what);
  }
  const { headers, status, body } = await ask({
    headers: { authorization: 'Bearer x', host: 'api.shop:8080' },
  });
  assert.deepEqual(
    [status, headers['www-authenticate'], body],
    [401, 'Bearer realm="api.shop:8080", error="invalid_token"', ''],
  );
  const record = waypoint.records.at(-1);
  assert.deepEqual([record?.flag, record?.code, record?.policy], ['JWT', 'WEFT_JWT_INVALID', policyName]);
  assert.equal(
    record?.why,
    `${policyName} refuses the token (malformed): the token is not three parts in base64url`,
  );
  assert.equal(waypoint.actions.at(-1), `jwt did ${policyName}`);
  const counts = [...waypoint.context.jwt.counts].map(({ policy, issuer, results }) => [
    policy,
    issuer,
    results.get('expired'),
  ]);
  assert.ok(counts.some((one) => String(one) === String([policyName, issuerName, 2])));
  assert.deepEqual(
    new Set(counts.map(([, issuer]) => issuer)),
    new Set(['', issuerName]),
    'no issuer of a client’s choice',
  );
});

test('a clock that differs by less than the skew makes no difference', async (t) => {
  const { result } = await withPolicy(t, { clockSkewMs: 30_000 });
  assert.equal(await result(signed(ec, claimsOf({ exp: inSeconds(-20) }))), '200');
  assert.equal(await result(signed(ec, claimsOf({ exp: inSeconds(-40) }))), '401 expired');
  assert.equal(await result(signed(ec, claimsOf({ nbf: inSeconds(20), iat: inSeconds(20) }))), '200');
  assert.equal(await result(signed(ec, claimsOf({ nbf: inSeconds(40) }))), '401 not-yet-valid');
});

test('a token that is remembered is refused once it has expired', async (t) => {
  const { waypoint, result } = await withPolicy(t);
  const token = signed(ec, claimsOf({ exp: inSeconds(2) }));
  assert.equal(await result(token), '200');
  assert.equal(waypoint.context.jwt.counts.verifications, 1);
  const end = performance.now() + 30_000;
  while ((await result(token)) === '200') assert.ok(performance.now() < end);
  assert.equal(await result(token), '401 expired');
  assert.equal(waypoint.context.jwt.counts.verifications, 1);
});

test('without a token a request passes, unless the policy requires one: then the client learns no error', async (t) => {
  const { waypoint, set, ask } = await withPolicy(t);
  assert.equal((await ask()).status, 200);
  set(jwtFilter([issuerOf(ec)], { required: true }));
  const { status, headers } = await ask({ headers: { authorization: 'Basic YTpi' } });
  assert.deepEqual([status, headers['www-authenticate']], [401, `Bearer realm="api.shop"`]);
  assert.equal(waypoint.records.at(-1)?.code, 'WEFT_JWT_MISSING');
});

test('in dry run nothing is refused or removed, and what would be is logged', async (t) => {
  const { waypoint, ask } = await withPolicy(t, {}, { required: true, dryRun: true });
  const sent = async (headers: Record<string, string>): Promise<unknown> =>
    (await askEcho(waypoint.port, { headers })).headers['authorization'];
  assert.equal((await ask()).status, 200);
  assert.equal(await sent({ authorization: 'Bearer x' }), 'Bearer x');
  const token = `Bearer ${signed(ec)}`;
  assert.equal(await sent({ authorization: token }), token);
  assert.deepEqual(waypoint.actions, [`jwt would ${policyName}`, `jwt would ${policyName}`]);
  assert.deepEqual(
    waypoint.records.map(({ audited }) => audited),
    [[policyName], [policyName], []],
  );
});

test('in dry run, too, only a valid token sets the headers of claims', async (t) => {
  const issuer = issuerOf(ec, { claimHeaders: [{ header: 'x-user', claim: ['sub'] }] });
  const { waypoint, set } = await scene(t, []);
  set(jwtFilter([issuer], { required: true, dryRun: true }));
  const user = async (headers: Record<string, string>): Promise<unknown> =>
    (await askEcho(waypoint.port, { headers: { ...headers, 'x-user': 'eve' } })).headers['x-user'];
  assert.equal(await user({}), undefined);
  assert.equal(await user({ authorization: 'Bearer x' }), undefined);
  assert.equal(await user({ authorization: `Bearer ${signed(ec)}` }), 'ann');
});

test('a policy in dry run beside one that acts sees the request as the client sent it', async (t) => {
  const tried = (required: boolean, audience: string): RouteFilter =>
    jwtFilter([issuerOf(ec, { audiences: [audience] })], { name: 'tried', required, dryRun: true });
  const acting = jwtFilter([issuerOf(ec)], { required: true });
  const { waypoint, set, result } = await scene(t, [acting, tried(true, 'shop')]);
  assert.equal(await result(signed(ec)), '200');
  assert.deepEqual(waypoint.actions, []);
  set(acting, tried(true, 'bank'));
  assert.equal(await result(signed(ec)), '200');
  assert.deepEqual(waypoint.actions, ['jwt would tried']);
  assert.equal(waypoint.records.at(-1)?.principal, `${issuerName}/ann`);
});

test('a client with settings of its own gets no way around the port’s tokens', async (t) => {
  const { waypoint, result, ask } = await withPolicy(t);
  const from = [{ namespace: 'shop', serviceAccount: 'web' }];
  const clients = [{ from, filters: [], origins: [], retry: undefined, timeouts: undefined, closed: '' }];
  const filters = [jwtFilter([issuerOf(ec)], { required: true })];
  waypoint.apply({
    servicePolicies: [{ service: key('api'), port: 80, origins: [], filters, clients }],
  });
  assert.equal((await ask()).status, 401);
  assert.equal(await result(signed(ec)), '200');
});

test('trailers cannot set the headers of claims', async (t) => {
  let trailers: unknown;
  const upstream = await httpUpstream(t, (request, response) => {
    request.resume();
    request.on('end', () => {
      ({ trailers } = request);
      response.end();
    });
  });
  const issuer = issuerOf(ec, { claimHeaders: [{ header: 'x-user', claim: ['sub'] }] });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const filters = [jwtFilter([issuer])];
  waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters }] });
  const client = await RawClient.open(waypoint.port);
  client.write(
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-user: root\r\nx_user: root\r\nx-sum: 1\r\n\r\n',
  );
  await eventually(() => waypoint.records.length === 1, 'the request has ended');
  assert.equal(waypoint.records[0]?.status, 200);
  assert.deepEqual({ ...(trailers as object) }, { 'x-sum': '1' });
});

test('tokens are found in headers, parameters and cookies, and removed from there or forwarded', async (t) => {
  const locations: JwtIssuer['locations'] = [
    bearer,
    { place: { $case: 'header', value: { name: 'x-token', prefix: '' } } },
    { place: { $case: 'query', value: 'access_token' } },
    { place: { $case: 'cookie', value: 'session' } },
  ];
  const { waypoint, set, ask } = await withPolicy(t, { locations }, { required: true });
  const token = signed(ec);
  const sent: [ClientRequest, string, string | undefined][] = [
    [{ headers: { authorization: `bearer   ${token}` } }, '/', undefined],
    [{ headers: { 'x-token': token } }, '/', undefined],
    [{ path: `/a?x=%31&access_token=${token}&y=2` }, '/a?x=%31&y=2', undefined],
    [{ path: `/a?%61ccess_token=${token}` }, '/a', undefined],
    [{ headers: { cookie: `a=1; session=${token}; b=2` } }, '/', 'a=1; b=2'],
    [{ headers: { cookie: `session="${token}"` } }, '/', undefined],
  ];
  for (const [request, url, cookie] of sent) {
    const echo = await askEcho(waypoint.port, request);
    assert.deepEqual([echo.url, echo.headers['cookie']], [url, cookie]);
    assert.ok(!JSON.stringify(echo).includes(token));
    assert.ok(!JSON.stringify(waypoint.records.at(-1)).includes(token), 'the log has no token');
  }
  const several: ClientRequest[] = [
    { headers: { authorization: `Bearer ${token}`, 'x-token': token } },
    { path: `/?access_token=${token}`, headers: { cookie: `session=${token}` } },
    { path: `/?access_token=${token}&access_token=${token}` },
    { path: `/?a;access_token=${token}` },
    { headers: { cookie: `session=${token}; session=x` } },
  ];
  for (const request of several) {
    assert.equal((await ask(request)).status, 401);
    assert.match(waypoint.records.at(-1)?.why ?? '', /\(several\)/);
    assert.ok(!JSON.stringify(waypoint.records.at(-1)).includes(token));
  }
  set(jwtFilter([issuerOf(ec, { locations, forward: true })]));
  const path = `/a?access_token=${token}`;
  assert.equal((await askEcho(waypoint.port, { path })).url, path);
  assert.equal(waypoint.records.at(-1)?.path, '/a');
});

test('a token is accepted only in the places of its own issuer, and verified by its own issuer’s keys', async (t) => {
  const other = newKey('ES256', 'k1');
  const inHeader = { place: { $case: 'header', value: { name: 'x-token', prefix: '' } } } as const;
  const { result } = await scene(t, [
    jwtFilter([issuerOf(ec), issuerOf(other, { issuer: 'other', locations: [inHeader] })]),
  ]);
  const ofOther = signed(other, claimsOf({ iss: 'other' }));
  assert.equal(await result(signed(ec)), '200');
  assert.equal(await result(ofOther), '401 place');
  assert.equal(await result('', { headers: { 'x-token': ofOther } }), '200');
  assert.equal(await result(signed(other)), '401 signature');
});

test('a header with and without a prefix holds one token, for the issuers of the longer prefix', async (t) => {
  const whole = { place: { $case: 'header', value: { name: 'authorization', prefix: '' } } } as const;
  const other = newKey('ES256', 'o');
  const { result } = await scene(t, [
    jwtFilter([issuerOf(other, { issuer: 'other', locations: [whole] }), issuerOf(ec)]),
  ]);
  assert.equal(await result(signed(ec)), '200');
  const ofOther = signed(other, claimsOf({ iss: 'other' }));
  assert.equal(await result('', { headers: { authorization: ofOther } }), '200');
  assert.equal(await result(ofOther), '401 place');
});

test('an issuer may be listed twice, for instance with other audiences', async (t) => {
  const { result } = await scene(t, [
    jwtFilter([issuerOf(ec, { audiences: ['a'] }), issuerOf(ec, { audiences: ['b'] })]),
  ]);
  assert.equal(await result(signed(ec, claimsOf({ aud: 'b' }))), '200');
  assert.equal(await result(signed(ec, claimsOf({ aud: 'c' }))), '401 audience');
});

test('a policy that this version cannot apply closes the port', async (t) => {
  const { waypoint, set, ask } = await withPolicy(t);
  for (const issuer of [
    { locations: [{}] },
    { locations: [{ place: { $case: 'header', value: { name: 'a b', prefix: '' } } } as const] },
    { claimHeaders: [{ header: 'host', claim: ['sub'] }] },
    { claimHeaders: [{ header: 'x-forwarded-client-cert', claim: ['sub'] }] },
    { payloadHeader: 'content-length' },
    { issuer: '' },
  ]) {
    set(jwtFilter([issuerOf(ec, issuer as Partial<JwtIssuer>)]));
    assert.equal((await ask({ headers: { authorization: `Bearer ${signed(ec)}` } })).status, 500);
    assert.equal(waypoint.records.at(-1)?.code, 'WEFT_FILTER_FAILED');
  }
});

test("a client's own route replaces neither the token nor the headers that it proves", async (t) => {
  const made = [
    { name: 'x-user', value: 'admin' },
    { name: 'x_user', value: 'admin' },
    { name: 'authorization', value: 'Bearer made.up.token' },
  ];
  const rules = [{ filters: [filter('requestHeaders', { set: made })] }];
  for (const required of [true, false])
    for (const forward of [true, false])
      for (const namespace of ['web', 'shop']) {
        const issuer = issuerOf(ec, { forward, claimHeaders: [{ header: 'x-user', claim: ['sub'] }] });
        const { waypoint } = await scene(t, [jwtFilter([issuer], { required })], {
          identity: identity('web', 'client'),
          routes: [route('r', rules, { namespace })],
        });
        const token = await signed(ec, claimsOf({ sub: 'nobody' }));
        const { headers } = await askEcho(waypoint.port, { headers: { authorization: `Bearer ${token}` } });
        const isForeign = namespace === 'web';
        assert.equal(headers['x-user'], isForeign ? 'nobody' : 'admin');
        assert.equal(headers['x_user'], isForeign ? undefined : 'admin');
        assert.equal(headers['authorization'], isForeign ? undefined : 'Bearer made.up.token');
        if (required) continue;
        const without = await askEcho(waypoint.port);
        assert.equal(without.headers['x-user'], isForeign ? undefined : 'admin');
        assert.equal(without.headers['authorization'], isForeign ? undefined : 'Bearer made.up.token');
      }
});
