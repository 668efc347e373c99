import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  atPodOf,
  authentication,
  compilerOf,
  issuer,
  jwtFilters,
  serviceText,
  servicePoliciesOf,
  toApi,
  waypointText,
  type AskedPod,
} from '../../test/support/authentication.js';
import { inForce, podText } from '../../test/threats/support/configuration.js';
import { objectKey } from '../objects/object-key.js';
import { parseManifests } from '../source/parse.js';
import { filterLimits, jwtFilter, jwtTemplate } from './jwt-filter.js';
import { unenforcedObjects } from '../problems/unenforced.js';
import { keyProblems } from '../status/traffic-policy.js';

const ports = '[{ name: http, port: 80, targetPort: 8080 }, { name: admin, port: 81, targetPort: 8081 }]';
const pods = [podText('bank', 'api', '10.0.0.2'), podText('bank', 'web', '10.0.0.3')];
const served = [serviceText(ports, { labels: 'weft.dev/waypoint: wp' }), waypointText()];
const unserved = [serviceText(ports)];
const policy = (jwt: string, targets = toApi, more = {}): string =>
  authentication(`{ ${targets}, jwt: ${jwt} }`, more);
const required = policy(`{ issuers: [${issuer()}] }`);
const optional = policy(`{ required: false, issuers: [${issuer()}] }`);
const valid = { iss: 'https://id.example', sub: 'u' };
const at = (texts: readonly string[], asked: AskedPod, namespace = 'bank', name = 'api'): boolean =>
  atPodOf(inForce([...pods, ...texts]), asked, namespace, name).allowed;
const errorOf = (text: string): string => {
  const { errors } = parseManifests('x', text);
  assert.ok(errors[0], 'it was accepted');
  return errors[0].message;
};

test('a policy becomes the filter of each port of its Service, with all defaults filled in', () => {
  const filters = jwtFilters(compilerOf([...pods, ...served, required]));
  assert.deepEqual(Object.keys(filters), ['80', '81']);
  const [filter] = filters[80] ?? [];
  assert.equal(filter?.name, 'AuthenticationPolicy bank/tokens');
  assert.deepEqual([filter?.required, filter?.dryRun], [true, false]);
  const [one] = filter?.issuers ?? [];
  assert.ok(one);
  assert.deepEqual(JSON.parse(one.jwks).keys.length, 1);
  assert.deepEqual([one.keysProblem, one.clockSkewMs, one.forward], ['', 60_000, false]);
  assert.deepEqual(
    one.locations.map(({ place }) => place?.$case),
    ['header', 'query'],
  );
});

test('places, claims and headers are taken as written', () => {
  const more =
    ", audiences: [a], clockSkew: 5s, forward: true, payloadHeader: X-Payload, from: [{ header: { name: X-T, prefix: 'T ' } }, { query: q }, { cookie: c }], claimHeaders: [{ header: X-Role, claim: [realm, role] }]";
  const filters = jwtFilters(compilerOf([...served, policy(`{ issuers: [${issuer(more)}] }`)]));
  const [one] = filters[80]?.[0]?.issuers ?? [];
  assert.deepEqual(
    one?.locations.map(({ place }) => place),
    [
      { $case: 'header', value: { name: 'x-t', prefix: 'T ' } },
      { $case: 'query', value: 'q' },
      { $case: 'cookie', value: 'c' },
    ],
  );
  assert.deepEqual(one.claimHeaders, [{ header: 'x-role', claim: ['realm', 'role'] }]);
  assert.deepEqual(
    [one.payloadHeader, one.forward, one.clockSkewMs, one.audiences],
    ['x-payload', true, 5000, ['a']],
  );
});

test('without a waypoint, connections to the pods of the Service are refused at its ports, and the status says so', () => {
  for (const one of [required, optional]) {
    assert.equal(at([...unserved, one], { isRaw: true }), false);
    assert.equal(at([...unserved, one], { isRaw: true, port: 8081 }), false);
  }
  assert.equal(at([...unserved, required], { isRaw: true, port: 9 }), true, 'no port of the Service');
  assert.equal(at([...unserved, required], { isRaw: true }, 'bank', 'web'), true, 'no pod of the Service');
  assert.equal(at(unserved, { isRaw: true }), true);
  const found = [...unenforcedObjects(compilerOf([...pods, ...unserved, required]))];
  assert.match(found[0]?.what ?? '', /AuthenticationPolicy bank\/tokens: .*no waypoint.*are refused/);
});

test('what no waypoint has validated is refused: other names and addresses of the pods lead past nothing', () => {
  const texts = [...served, required];
  assert.equal(at(texts, {}), false, 'no token');
  assert.equal(at(texts, { claims: valid }), true);
  assert.equal(at(texts, { claims: { iss: 'https://other.example' } }), false, 'another policy’s issuer');
  assert.equal(at(texts, { isRaw: true }), false);
  const audiences = policy(`{ issuers: [${issuer(', audiences: [a, b]')}] }`);
  assert.equal(at([...served, audiences], { claims: { ...valid, aud: 'c' } }), false);
  assert.equal(at([...served, audiences], { claims: { ...valid, aud: ['c', 'b'] } }), true);
  assert.equal(at([...served, audiences], { claims: valid }), false);
});

test('an optional token: requests without one pass, an unverified one does not', () => {
  const texts = [...served, optional];
  assert.equal(at(texts, {}), true);
  for (const authorization of ['Bearer x', 'bearer x', 'BeArEr x', 'Bearer', ' Bearer x'])
    assert.equal(at(texts, { headers: { authorization } }), false, authorization);
  assert.equal(at(texts, { headers: { authorization: 'Basic x' } }), true);
  assert.equal(at(texts, { headers: { authorization: 'Bearer x' }, claims: valid }), true);
  assert.equal(at(texts, { path: '/?access_token=x' }), false);
  const places = policy(
    `{ required: false, issuers: [${issuer(', from: [{ cookie: s.id }], claimHeaders: [{ header: X-User, claim: [sub] }]')}] }`,
  );
  for (const [headers, isAllowed] of [
    [{ cookie: 'a=b; s.id=x' }, false],
    [{ cookie: 's.id=x' }, false],
    [{ cookie: 'a=b; s.id =x' }, false],
    [{ cookie: 'sxid=x' }, true],
    [{ 'x-user': 'admin' }, false],
    [{ x_user: 'admin' }, false],
    [{ authorization: 'Bearer x' }, true],
  ] as const)
    assert.equal(at([...served, places], { headers }), isAllowed, JSON.stringify(headers));
});

test('a named target port is that of the pods, also of one that comes later', () => {
  const named = '[{ name: http, port: 80, targetPort: web }]';
  const pod = podText('bank', 'api', '10.0.0.2').replace(
    'spec: { nodeName: n }',
    'spec: { nodeName: n, containers: [{ ports: [{ name: web, containerPort: 8080 }] }] }',
  );
  const compiler = compilerOf([serviceText(named), required]);
  const guards = (): string[] =>
    [...compiler.all()].flatMap((one) =>
      one.kind === 'policy'
        ? [`${one.value.key} ${one.value.rules[0]?.clauses[0]?.matches[0]?.destinationPorts.join()}`]
        : [],
    );
  assert.deepEqual(guards(), []);
  const [object] = parseManifests('x', pod).objects;
  assert.ok(object);
  compiler.apply(new Map([[objectKey(object), object]]));
  assert.deepEqual(guards(), ['bank/AuthenticationPolicy/bank/tokens@api 8080']);
});

test('the policy of a port goes before that of the Service, which goes before that of the Gateway', () => {
  const port = policy(
    `{ issuers: [{ issuer: port, jwks: $JWKS }] }`,
    toApi.replace('}', ', sectionName: admin }'),
    {
      name: 'port',
    },
  );
  const gateway = policy(
    '{ issuers: [{ issuer: gateway, jwks: $JWKS }] }',
    'targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: wp }]',
    { name: 'gateway' },
  );
  const issuers = (texts: readonly string[]): string[] =>
    Object.values(jwtFilters(compilerOf([...pods, ...served, ...texts]))).map((filters) =>
      filters.flatMap((one) => one.issuers.map((of) => of.issuer)).join(),
    );
  assert.deepEqual(issuers([gateway]), ['gateway', 'gateway']);
  assert.deepEqual(issuers([gateway, port]), ['gateway', 'port']);
  assert.deepEqual(issuers([gateway, port, required]), ['https://id.example', 'port']);
  const texts = [...served, gateway, port];
  assert.equal(at(texts, { port: 8080, claims: { iss: 'gateway' } }), true);
  assert.equal(at(texts, { port: 8081, claims: { iss: 'gateway' } }), false);
  assert.equal(at(texts, { port: 8081, claims: { iss: 'port' } }), true);
});

test('of two policies of one target the older is in force, and the other says Conflicted', () => {
  const older = policy('{ issuers: [{ issuer: old, jwks: $JWKS }] }', toApi, {
    name: 'z',
    more: ", creationTimestamp: '2020-01-01T00:00:00Z'",
  });
  const newer = policy(`{ issuers: [${issuer()}] }`, toApi, {
    more: ", creationTimestamp: '2021-01-01T00:00:00Z'",
  });
  const compiler = compilerOf([...served, newer, older]);
  assert.equal(jwtFilters(compiler)[80]?.[0]?.issuers[0]?.issuer, 'old');
  const found = [...unenforcedObjects(compiler)].map(({ what }) => what);
  assert.match(
    found.join(),
    /AuthenticationPolicy bank\/tokens: .*AuthenticationPolicy bank\/z sets authentication/,
  );
});

test('dry run refuses nothing, and does not take the place of a policy that acts', () => {
  const dry = policy(`{ dryRun: true, issuers: [{ issuer: dry, jwks: $JWKS }] }`, toApi, { name: 'dry' });
  assert.equal(at([...unserved, dry], { isRaw: true }), true);
  const [one, two, ...more] = jwtFilters(compilerOf([...served, required, dry]))[80] ?? [];
  assert.deepEqual([one?.dryRun, two?.dryRun, more.length], [false, true, 0]);
});

test('a policy that cannot be read closes its targets; without readable targets its namespace; no other namespace', () => {
  const unread = `apiVersion: weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: { name: tokens, namespace: bank }\n`;
  const broken = `${unread}spec: { ${toApi}, jwt: { newer: 1 } }\n`;
  for (const isRaw of [{ isRaw: true as const }, {}])
    assert.equal(at([...served, broken], { ...isRaw, claims: valid }), false);
  assert.equal(at([...served, broken], { isRaw: true }, 'bank', 'web'), true);
  assert.match(servicePoliciesOf(compilerOf([...served, broken]))[0]?.closed ?? '', /cannot be read/);
  const lost = `${unread}spec: { targetRefs: [{ kind: Newer, name: x }], jwt: { issuers: [] } }\n`;
  assert.equal(at([...served, lost], { isRaw: true }, 'bank', 'web'), false);
  const elsewhere = lost.replace('namespace: bank', 'namespace: evil');
  for (const name of ['api', 'web'])
    assert.equal(at([...served, elsewhere], { isRaw: true }, 'bank', name), true);
});

test('a policy of another namespace changes nothing, whatever it names', () => {
  const evil = policy(`{ issuers: [${issuer()}] }`, toApi, { namespace: 'evil' });
  const gateway = policy(
    `{ issuers: [${issuer()}] }`,
    'targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: wp }]',
    { namespace: 'evil', name: 'wide' },
  );
  assert.deepEqual(servicePoliciesOf(compilerOf([...served, evil, gateway])), []);
  assert.equal(at([...served, evil, gateway], {}), true);
  assert.equal(at([...unserved, evil, gateway], { isRaw: true }), true);
});

test('what cannot be carried out is refused with the field', () => {
  for (const [jwt, message] of [
    [
      "{ issuers: [{ issuer: a, jwks: { inline: '<html>' } }] }",
      /jwks\.inline: it is no JSON: it begins with "<html>"/,
    ],
    ["{ issuers: [{ issuer: a, jwks: { uri: 'ftp://x' } }] }", /begins with https/],
    ['{ issuers: [{ issuer: a, jwks: { uri: "https://u:p@x/" } }] }', /must not contain a user/],
    ['{ issuers: [{ issuer: a, jwks: {} }] }', /NOT have fewer than 1|give either/],
    [`{ issuers: [${issuer(', clockSkew: 1h')}] }`, /clockSkew: it may be at most 10m/],
    [`{ issuers: [${issuer(', claimHeaders: [{ header: Host, claim: [a] }]')}] }`, /cannot be set/],
    [`{ issuers: [${issuer(', payloadHeader: x-forwarded-for')}] }`, /cannot be set/],
    [
      `{ issuers: [${issuer(', from: [{ header: { name: a }, query: b }]')}] }`,
      /NOT have more than 1|give one of/,
    ],
  ] as const)
    assert.match(errorOf(policy(jwt)), message);
  const same = `{ issuer: a, jwks: $JWKS }`;
  assert.match(
    errorOf(policy(`{ issuers: [${same}, { issuer: a, jwks: { uri: 'https://x' } }] }`)),
    /occurs twice/,
  );
});

test('the keys of all issuers of a port are bounded: an issuer beyond that has none, and its filter says why', () => {
  const filter = jwtFilter(
    {
      name: 'x',
      required: true,
      dryRun: false,
      issuers: Array.from({ length: filterLimits.issuers + 1 }, (_, i) => ({
        ...(jwtTemplate({ issuers: [{ issuer: `i${i}`, jwks: { uri: 'https://x' } }] }, 'x', 'jwt')
          .issuers[0] ?? assert.fail()),
      })),
    },
    { of: () => ({ jwks: 'x'.repeat(50 * 1024), problem: '' }) },
  );
  assert.ok(filter.$case === 'jwt');
  const { issuers } = filter.value;
  assert.equal(issuers.length, filterLimits.issuers);
  assert.deepEqual(
    issuers
      .slice(0, 3)
      .map(({ jwks, keysProblem }) => [jwks.length > 0, /more than 131072 bytes/.test(keysProblem)]),
    [
      [true, false],
      [true, false],
      [false, true],
    ],
  );
});

test('the status of a policy says which issuers have no keys, also those beyond the bound of bytes', () => {
  const named = (name: string): string => `{ issuer: ${name}, jwks: { uri: 'https://${name}' } }`;
  const compiler = compilerOf([policy(`{ issuers: [${['a', 'b', 'c'].map(named).join(', ')}] }`)]);
  for (const name of ['a', 'b'])
    compiler.keySets.set(`https://${name}`, { jwks: 'x'.repeat(100 * 1024), problem: '' });
  const [object] = compiler.authenticationPolicies.all();
  assert.ok(object);
  assert.deepEqual(keyProblems(object, compiler.keySets), [
    'issuer b: the keys of all issuers have more than 131072 bytes',
    'issuer c: its keys have not been fetched yet',
  ]);
});

test('claims of an issuer that a policy no longer names: denied if a token is required, or where the endpoint takes them for those of another', () => {
  const headers = ', claimHeaders: [{ header: x-user, claim: [sub] }]';
  const named = (more: string): string => policy(`{ ${more}issuers: [${issuer(headers)}] }`);
  const claims = { iss: 'https://removed.example', sub: 'u' };
  assert.equal(at([...served, named('')], { claims }), false);
  const optional = [...served, named('required: false, ')];
  assert.equal(at(optional, { claims }), true);
  assert.equal(at(optional, { claims, headers: { 'x-user': 'u' } }), false);
  assert.equal(at(optional, { claims, headers: { authorization: 'Bearer t' } }), false);
});
