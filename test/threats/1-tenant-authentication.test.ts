/**
 * Rows 1, 2 and 5 of docs/security.md: AuthenticationPolicies that an admin of namespace `evil` writes concern nobody else, and tokens that only
 * another Service's policy has accepted lead past nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile } from '../../control/compile/compile.js';
import { resourceId } from '../../control/compile/resource.js';
import { jwksLimits } from '../../control/jwks/decide.js';
import { KeyFetcher } from '../../control/jwks/key-fetcher.js';
import { encodeResource } from '../../control/serve/resources.js';
import { parseManifests } from '../../control/source/parse.js';
import { domain } from '../support/mesh.js';
import {
  atPodOf,
  authentication,
  compilerOf,
  issuer,
  serviceText,
  toApi,
  waypointText,
} from '../support/authentication.js';
import { inForce, podText, policyText } from './support/configuration.js';

const ports = '[{ name: http, port: 80, targetPort: 8080 }]';
const mesh = [
  podText('bank', 'api', '10.0.0.2'),
  serviceText(ports, { labels: 'weft.dev/waypoint: wp' }),
  waypointText(),
  authentication(`{ ${toApi}, jwt: { issuers: [${issuer()}] } }`),
  policyText('bank', 'p', '{ action: DENY, rules: [{ from: [{ jwt: { subjects: [mallory] } }] }] }'),
];
const own = [
  podText('evil', 'api', '10.0.0.9'),
  serviceText(ports, { namespace: 'evil', ip: '10.96.0.9' }),
  waypointText('evil'),
];
const toGateway = 'targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: wp }]';
const attacks: readonly string[] = [
  authentication(`{ ${toApi}, jwt: { issuers: [${issuer()}] } }`, { namespace: 'evil' }),
  authentication(`{ ${toApi}, jwt: { required: false, issuers: [{ issuer: evil, jwks: $JWKS }] } }`, {
    namespace: 'evil',
  }),
  authentication(`{ ${toGateway}, jwt: { issuers: [${issuer()}] } }`, { namespace: 'evil' }),
  authentication(`{ ${toApi}, jwt: { issuers: [{ issuer: a, jwks: { uri: 'https://id.example' } }] } }`, {
    namespace: 'evil',
    name: 'tokens',
  }),
  // Names that would meet those of other objects' resources.
  authentication(`{ ${toApi}, jwt: { issuers: [${issuer()}] } }`, {
    namespace: 'evil',
    name: 'weft-strict-mesh',
  }),
  // What cannot be read closes the own namespace alone.
  'apiVersion: weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: { name: x, namespace: evil }\nspec: { targetRefs: [{ newer: 1 }] }\n',
];

const resourcesOf = (texts: readonly string[]): Map<string, string> => {
  const parsed = texts.map((text) => parseManifests('x', text));
  const compiler = compile(
    parsed.flatMap(({ objects, closed }) => [...objects, ...closed]),
    { trustDomain: domain, rootsVersion: '' },
  );
  return new Map(
    [...compiler.all()].map((one) => [resourceId(one), Buffer.from(encodeResource(one)).toString('base64')]),
  );
};

test('an AuthenticationPolicy of another namespace changes no resource of this one', () => {
  const [before] = [resourcesOf([...mesh, ...own])];
  for (const attack of attacks) {
    const after = resourcesOf([...mesh, ...own, attack]);
    for (const [id, bytes] of before)
      if (/bank/.test(id)) assert.equal(after.get(id), bytes, `${id}: ${attack}`);
    for (const id of after.keys()) if (!before.has(id)) assert.match(id, /evil/, attack);
  }
});

test('URIs of another namespace, and answers of its servers, delay or change no keys of this one', () => {
  const many = Array.from({ length: 200 }, (_, i) =>
    authentication(
      `{ ${toApi}, jwt: { issuers: [{ issuer: a, jwks: { uri: 'https://a${i}.example' } }] } }`,
      {
        namespace: 'evil',
        name: `p${i}`,
      },
    ),
  );
  const mine = authentication(
    `{ ${toApi}, jwt: { issuers: [{ issuer: b, jwks: { uri: 'https://z.example' } }] } }`,
  );
  const compiler = compilerOf([...mesh.slice(0, 3), ...own, ...many, mine]);
  const asked: string[] = [];
  const fetcher = new KeyFetcher({
    compiler,
    take: () => undefined,
    // No request ever ends.
    fetch: (uri) => {
      asked.push(uri);
      return new Promise(() => undefined);
    },
    onFetch: () => undefined,
    onLimit: () => undefined,
    log: { info: () => undefined, warn: () => undefined },
  });
  for (let i = 0; i < 10; i++) fetcher.turn(i * 1_000_000);
  assert.ok(asked.includes('https://z.example'));
  assert.equal(asked.length, jwksLimits.underWayOfNamespace + 1);
});

test('a token that another Service’s policy has accepted does not lead to the pods of a stricter one', () => {
  const other = serviceText(ports, {
    name: 'open',
    app: 'api',
    ip: '10.96.0.7',
    labels: 'weft.dev/waypoint: wp',
  });
  const loose = authentication(
    `{ targetRefs: [{ group: '', kind: Service, name: open }], jwt: { required: false, issuers: [{ issuer: 'https://any.example', jwks: $JWKS }] } }`,
    { name: 'loose' },
  );
  const all = inForce([...mesh, other, loose]);
  for (const claims of [undefined, { iss: 'https://any.example', sub: 'x' }])
    assert.equal(atPodOf(all, claims ? { claims } : {}).allowed, false);
  // Each of the two policies has to accept it, and one token has one issuer.
  assert.equal(atPodOf(all, { claims: { iss: 'https://id.example' } }).allowed, true);
  assert.equal(
    atPodOf(all, { claims: { iss: 'https://id.example' }, headers: { authorization: 'Bearer x' } }).allowed,
    false,
  );
});
