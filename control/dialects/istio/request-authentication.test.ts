import assert from 'node:assert/strict';
import { test } from 'node:test';
import { remarksText } from '../remarks.js';
import type { JwtFilter } from '../../../src/discovery/gen/weft.js';
import {
  authentication,
  compilerOf,
  exampleJwks,
  issuer,
  jwtFilters,
  servicePoliciesOf,
  serviceText,
  toApi,
  waypointText,
} from '../../../test/support/authentication.js';
import { atPod, bank, bankPods, istio, type Asked } from '../../../test/support/istio-security.js';
import { objectKey } from '../../objects/object-key.js';
import { parseManifests } from '../../source/parse.js';

const tokens = (rule: string): string =>
  istio('RequestAuthentication', `{ jwtRules: [{ issuer: a${rule} }] }`);
const allowed = (rule: string, asked: Asked): boolean => atPod(bank(tokens(rule)), asked).allowed;
const withHeaders = (headers: Readonly<Record<string, string>>): Asked => ({ headers });

test('at a pod, a request with a token that nobody has validated is denied; one without a token passes, as in Istio', () => {
  assert.equal(allowed('', {}), true);
  for (const token of ['Bearer x', 'bearer x'])
    assert.equal(allowed('', withHeaders({ authorization: token })), false, token);
  assert.equal(allowed('', withHeaders({ authorization: 'Basic x' })), true);
  assert.equal(allowed('', { ...withHeaders({ authorization: 'Bearer x' }), claims: { iss: 'a' } }), true);
  assert.equal(
    atPod(bank(tokens('')), withHeaders({ authorization: 'Bearer x' })).policy,
    'bank/RequestAuthentication/p',
  );
});

test('tokens are looked for where the rule says', () => {
  const rule = ', fromHeaders: [{ name: X-Token, prefix: "JWT " }], fromCookies: [session]';
  assert.equal(allowed(rule, withHeaders({ 'x-token': 'JWT a' })), false);
  assert.equal(allowed(rule, withHeaders({ cookie: 'session=a' })), false);
  assert.equal(allowed(rule, withHeaders({ authorization: 'Bearer x' })), true);
  assert.equal(allowed(rule, { path: '/?access_token=x' }), true);
  for (const path of ['/a?access_token=x', '/?b=1&access%5Ftoken=x', '/?b=1;access_token=x'])
    assert.equal(allowed('', { path }), false, path);
  assert.equal(allowed('', { path: '/access_token=x?b=access_token' }), true);
  assert.equal(allowed(', fromParams: [t]', { path: '/?t=x' }), false);
  assert.equal(allowed(', fromParams: [t]', { path: '/?access_token=x' }), true);
});

test('headers that only a validated token sets are not believed from clients', () => {
  const rule = ', outputPayloadToHeader: x-payload, outputClaimToHeaders: [{ header: X-User, claim: sub }]';
  assert.equal(allowed(rule, withHeaders({ 'x-payload': 'a' })), false);
  assert.equal(allowed(rule, withHeaders({ 'x-user': 'admin' })), false);
  assert.equal(allowed(rule, {}), true);
});

test('without a proxy that reads requests, and if a token is required, nothing passes', () => {
  assert.equal(allowed('', { isRaw: true }), false);
  assert.equal(allowed(', presence: REQUIRED', {}), false);
});

test('an object without rules changes nothing; one that cannot be read closes what it selects', () => {
  for (const spec of ['', '{}', '{ jwtRules: [] }']) {
    assert.equal(atPod(bank(istio('RequestAuthentication', spec)), { isRaw: true }).allowed, true, spec);
  }
  const mesh = bank(
    istio('RequestAuthentication', '{ selector: { matchLabels: { app: api } }, jwtRules: [{ newer: 1 }] }'),
  );
  assert.equal(atPod(mesh, {}).allowed, false);
  assert.equal(atPod(mesh, {}, 'bank', 'web').allowed, true);
});

const waypoint = [
  serviceText('[{ port: 80, targetPort: 80 }]', { labels: 'weft.dev/waypoint: wp' }),
  waypointText(),
];
const filterOf = (...objects: readonly string[]): JwtFilter | undefined =>
  jwtFilters(compilerOf([...bankPods, ...waypoint, ...objects]))[80]?.[0];
const issuers = (...objects: readonly string[]): string[] =>
  filterOf(...objects)?.issuers.map(({ issuer }) => issuer) ?? [];
const requests = (spec: string, more = {}): string => istio('RequestAuthentication', spec, more);
const rules = (issuer: string): string => `jwtRules: [{ issuer: ${issuer} }]`;

test('a Service with a waypoint validates tokens by all rules of all objects that select its pods', () => {
  const object = requests(
    `{ jwtRules: [{ issuer: a, audiences: [x], jwks: '${exampleJwks()}', fromHeaders: [{ name: X-T, prefix: 'T ' }], fromParams: [q], fromCookies: [c], forwardOriginalToken: true, outputPayloadToHeader: X-P, outputClaimToHeaders: [{ header: X-R, claim: realm.role }], spaceDelimitedClaims: [perms] }] }`,
  );
  const filter = filterOf(object);
  assert.deepEqual([filter?.name, filter?.required], ['RequestAuthentication bank/p', false]);
  const { jwks, ...one } = filter?.issuers[0] ?? {};
  assert.match(jwks ?? '', /"kid":"k1"/);
  assert.deepEqual(one, {
    issuer: 'a',
    audiences: ['x'],
    keysProblem: '',
    keysUri: '',
    locations: [
      { place: { $case: 'header', value: { name: 'x-t', prefix: 'T ' } } },
      { place: { $case: 'query', value: 'q' } },
      { place: { $case: 'cookie', value: 'c' } },
    ],
    clockSkewMs: 60_000,
    forward: true,
    claimHeaders: [{ header: 'x-r', claim: ['realm', 'role'] }],
    payloadHeader: 'x-p',
    spaceDelimitedClaims: ['perms'],
  });
  assert.deepEqual(
    issuers(
      requests(`{ ${rules('a')} }`),
      requests(`{ selector: { matchLabels: { app: api } }, ${rules('b')} }`, { name: 'q' }),
      requests(`{ ${rules('c')} }`, { namespace: 'weft-system', name: 'mesh' }),
      requests(`{ targetRefs: [{ kind: Service, name: api }], ${rules('d')} }`, { name: 'r' }),
      requests(
        `{ targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: wp }], ${rules('e')} }`,
        {
          name: 's',
        },
      ),
    ).sort(),
    ['a', 'b', 'c', 'd', 'e'],
  );
});

test('a Service whose objects have more issuers than fit is closed, since nobody would protect the headers of the others', () => {
  const many = (count: number): string =>
    requests(
      `{ jwtRules: [${Array.from({ length: count }, (_, i) => `{ issuer: i${i}, jwksUri: 'https://i' }`).join(', ')}] }`,
    );
  const closedOf = (...objects: readonly string[]): (string | undefined)[] =>
    servicePoliciesOf(compilerOf([...bankPods, ...waypoint, ...objects])).map(({ closed }) => closed);
  const one = requests(`{ ${rules('last')} }`, { name: 'q' });
  assert.deepEqual(closedOf(many(63), one), [undefined]);
  assert.deepEqual(closedOf(many(64), one), [
    'RequestAuthentication bank/p, bank/q: 65 in all, more than 64 issuers',
  ]);
  const compiler = compilerOf([...bankPods, ...waypoint, many(64), one]);
  assert.equal(compiler.crowdedPorts, 1);
  const [object] = parseManifests('x', one).objects;
  assert.ok(object);
  assert.equal(compiler.crowdedPort(object)?.port, 80);
  compiler.apply(new Map([[objectKey(object), undefined]]));
  assert.deepEqual([compiler.crowdedPorts, compiler.crowdedPort(object)], [0, undefined]);
  const own = authentication(`{ ${toApi}, jwt: { issuers: [${issuer()}] } }`);
  assert.deepEqual(closedOf(many(64), one, own), [undefined], 'the policy of the Service goes before');
});

test('an object that selects other pods, another Service or another namespace changes nothing', () => {
  assert.deepEqual(
    issuers(
      requests(`{ selector: { matchLabels: { app: web } }, ${rules('a')} }`, { name: 'a' }),
      requests(`{ targetRefs: [{ kind: Service, name: web }], ${rules('b')} }`, { name: 'b' }),
      requests(`{ ${rules('c')} }`, { namespace: 'evil', name: 'c' }),
      requests(`{ targetRefs: [{ kind: Service, name: api }], ${rules('d')} }`, {
        namespace: 'evil',
        name: 'd',
      }),
      requests(
        `{ targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: wp }], ${rules('e')} }`,
        {
          namespace: 'evil',
          name: 'e',
        },
      ),
    ),
    [],
  );
});

test('the pods of a Service that come later with the labels of a selector turn validation on', () => {
  const compiler = compilerOf([
    ...waypoint,
    requests(`{ selector: { matchLabels: { app: api } }, ${rules('a')} }`),
  ]);
  assert.equal(jwtFilters(compiler)[80], undefined);
  const [pod] = parseManifests('x', bankPods[0] ?? '').objects;
  assert.ok(pod);
  compiler.apply(new Map([[objectKey(pod), pod]]));
  assert.equal(jwtFilters(compiler)[80]?.length, 1);
  compiler.apply(new Map([[objectKey(pod), undefined]]));
  assert.equal(jwtFilters(compiler)[80], undefined);
});

test('REQUIRED: a request needs a token of that issuer, whatever other issuers there are', () => {
  const mesh = bank(
    requests('{ jwtRules: [{ issuer: a, presence: REQUIRED }, { issuer: b }] }'),
    requests(`{ ${rules('c')} }`, { name: 'q' }),
  );
  for (const [iss, isAllowed] of [
    ['a', true],
    ['b', false],
    ['c', false],
  ] as const)
    assert.equal(atPod(mesh, { claims: { iss } }).allowed, isAllowed, iss);
  assert.equal(atPod(mesh, {}).allowed, false);
  assert.equal(filterOf(requests('{ jwtRules: [{ issuer: a, presence: REQUIRED }] }'))?.required, true);
});

test('without keys an issuer has no valid tokens, and the status says why', () => {
  const reasons: [string, RegExp][] = [
    ['{ issuer: "https://id.example" }', /not been fetched yet/],
    ['{ issuer: "https://id.example", jwksUri: "https://id.example/k" }', /not been fetched yet/],
    ['{ issuer: plain }', /give jwks or jwksUri/],
    ['{ issuer: a, jwks: "<html>" }', /no JSON/],
    ['{ audiences: [a] }', /without an issuer/],
  ];
  for (const [rule, message] of reasons) {
    const object = requests(`{ jwtRules: [${rule}] }`);
    const [issuer] = filterOf(object)?.issuers ?? [];
    assert.deepEqual([issuer?.jwks, message.test(issuer?.keysProblem ?? '')], ['', true], rule);
    const compiler = compilerOf([object]);
    const [one] = compiler.indexes.RequestAuthentication.all();
    assert.ok(one);
    assert.equal(compiler.problemOf(one), undefined);
    const remark = remarksText(compiler.remarksOf(one)) ?? '';
    if (/fetched/.test(message.source)) assert.match(remark, /valid until its keys have been fetched/);
    else assert.match(remark, message);
  }
});

test('an AuthenticationPolicy of the Service goes before RequestAuthentications', () => {
  const own = authentication(`{ ${toApi}, jwt: { issuers: [{ issuer: own, jwks: $JWKS }] } }`);
  assert.deepEqual(issuers(requests(`{ ${rules('a')} }`), own), ['own']);
});

test('the pods of a Service that it targets refuse what no waypoint has validated, at the ports of the Service', () => {
  const target = requests(`{ targetRefs: [{ kind: Service, name: api }], ${rules('a')} }`);
  const unserved = bank(serviceText('[{ port: 80 }]'), target);
  assert.equal(atPod(unserved, { isRaw: true }).allowed, false);
  assert.equal(atPod(unserved, { isRaw: true, port: 81 }).allowed, true);
  assert.equal(atPod(unserved, { isRaw: true }, 'bank', 'web').allowed, true);
  const served = bank(...waypoint, target);
  assert.equal(atPod(served, {}).allowed, true);
  assert.equal(atPod(served, withHeaders({ authorization: 'Bearer x' })).allowed, false);
  const elsewhere = requests(`{ targetRefs: [{ kind: Service, name: api }], ${rules('a')} }`, {
    namespace: 'evil',
  });
  assert.equal(atPod(bank(serviceText('[{ port: 80 }]'), elsewhere), { isRaw: true }).allowed, true);
});
