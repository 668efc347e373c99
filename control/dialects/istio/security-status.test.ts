import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { bankPods, istio } from '../../../test/support/istio-security.js';
import { compile } from '../../compile/compile.js';
import { objectKey } from '../../objects/object-key.js';
import { kinds } from '../../kinds/kinds.js';
import { acceptedType, enforcedType, type Condition } from '../../objects/objects.js';
import { parseManifests } from '../../source/parse.js';
import { readObject } from '../../source/validate.js';
import type { MeshObject } from '../../objects/objects.js';
import type { StatusLookup } from '../../status/status.js';

const waypoint = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: bank }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
kind: Service
apiVersion: v1
metadata: { name: api, namespace: bank, labels: { weft.dev/waypoint: wp } }
spec: { selector: { app: api }, clusterIP: 10.96.0.1, ports: [{ port: 80 }] }
---
kind: Service
apiVersion: v1
metadata: { name: web, namespace: bank }
spec: { selector: { app: web }, clusterIP: 10.96.0.2, ports: [{ port: 80 }] }
`;

type Kind = Parameters<typeof istio>[0];
/** `status reason message` of the conditions, by type. */
function statusOf(
  kind: Kind,
  spec: string,
  where: Parameters<typeof istio>[2] = {},
  more: readonly string[] = [],
): Record<string, string> {
  const read = [...bankPods, waypoint, ...more].flatMap((text) => parseManifests('x', text).objects);
  const parsed = parseManifests('x', istio(kind, spec, where));
  const [object] = [...parsed.objects, ...parsed.closed].map(
    (one): MeshObject => readObject(one).object ?? one,
  );
  assert.ok(object);
  const compiler = compile([...read, object], {
    trustDomain: parseTrustDomain('cluster.local'),
    rootsVersion: '',
  });
  const taken = compiler.object(objectKey(object));
  assert.ok(taken);
  const lookup = { mesh: compiler, timestamp: '2026-01-01T00:00:00Z' } as unknown as StatusLookup;
  const { conditions } = kinds[kind].status?.(taken, lookup)?.status as { conditions: Condition[] };
  return Object.fromEntries(
    conditions.map(({ type, status, reason, message }) => [type, `${status} ${reason} ${message}`]),
  );
}
const policy = (spec: string, where = {}) => statusOf('AuthorizationPolicy', spec, where);
const paths = 'rules: [{ to: [{ operation: { paths: [/a] } }] }]';

test('a policy about connections is in force, and needs no waypoint', () => {
  assert.deepEqual(policy('{ rules: [{ from: [{ source: { namespaces: [shop] } }] }] }'), {
    [acceptedType]: 'True Accepted in force',
  });
});

test('what is not carried out is said with its field', () => {
  const status = policy('{ rules: [{ from: [{ source: { requestPrincipals: ["*"] } }] }] }');
  assert.match(
    status[acceptedType] ?? '',
    /^True Accepted in force, except: .*requestPrincipals.*without a waypoint/,
  );
  assert.match(
    policy('{ action: CUSTOM, rules: [{}] }')[acceptedType] ?? '',
    /^False Unsupported action CUSTOM/,
  );
  const tokens = statusOf('RequestAuthentication', '{ jwtRules: [{ issuer: a }] }');
  assert.match(
    tokens[acceptedType] ?? '',
    /^True Accepted in force, except: .*no token of this issuer is valid: give jwks or jwksUri/,
  );
  const elsewhere = policy('{}', { namespace: 'istio-system' });
  assert.match(elsewhere[acceptedType] ?? '', /the object counts for istio-system alone/);
});

test('an object whose issuers are too many with those of others says that the Service is closed; another one does not', () => {
  const rules = (from: number, count: number): string =>
    `jwtRules: [${Array.from({ length: count }, (_, i) => `{ issuer: i${from + i}, jwksUri: 'https://i' }`).join(', ')}]`;
  const others = [
    istio('RequestAuthentication', `{ selector: { matchLabels: { app: api } }, ${rules(0, 60)} }`, {
      name: 'a',
    }),
    istio('RequestAuthentication', `{ selector: { matchLabels: { app: api } }, ${rules(60, 4)} }`, {
      name: 'b',
    }),
  ];
  const enforcedWith = (spec: string, more: readonly string[]): string =>
    statusOf('RequestAuthentication', spec, { name: 'z' }, more)[enforcedType] ?? '';
  const api = `{ selector: { matchLabels: { app: api } }, ${rules(64, 1)} }`;
  assert.match(
    enforcedWith(api, others),
    /^False TooManyIssuers requests to bank\/api\.bank\.svc\.cluster\.local port 80 are refused: .*65 in all, more than 64 issuers/,
  );
  assert.match(enforcedWith(api, others.slice(0, 1)), /^True/);
  assert.doesNotMatch(
    enforcedWith(`{ selector: { matchLabels: { app: web } }, ${rules(64, 1)} }`, others),
    /TooMany/,
  );
});

test('Enforced: by the waypoint of the Service, of the Gateway, or of the selected pods', () => {
  const enforced = (target: string): string | undefined => policy(`{ ${target}, ${paths} }`)[enforcedType];
  const gateway = (name: string): string =>
    `targetRefs: [{ kind: Gateway, group: gateway.networking.k8s.io, name: ${name} }]`;
  assert.match(enforced('targetRef: { kind: Service, name: api }') ?? '', /^True Enforced/);
  assert.match(enforced('targetRef: { kind: Service, name: web }') ?? '', /^False NoWaypoint/);
  assert.match(enforced('targetRef: { kind: Service, name: none }') ?? '', /^False TargetNotFound/);
  assert.match(enforced(gateway('wp')) ?? '', /^True Enforced/);
  assert.match(enforced(gateway('ingress')) ?? '', /^False TargetNotFound .*no waypoint of Weft/);
  assert.match(enforced('selector: { matchLabels: { app: api } }') ?? '', /^True Enforced/);
  assert.match(enforced('selector: { matchLabels: { app: web } }') ?? '', /^False NoWaypoint/);
  assert.match(
    enforced('targetRef: { kind: ServiceEntry, group: networking.istio.io, name: x }') ?? '',
    /^False TargetNotFound/,
  );
});

test('only the root namespace targets a class of waypoints', () => {
  const classes = `{ targetRefs: [{ kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint }], ${paths} }`;
  assert.match(policy(classes)[acceptedType] ?? '', /^False TargetNotAllowed/);
  assert.match(policy(classes, { namespace: 'weft-system' })[acceptedType] ?? '', /^True/);
});

test('an object that cannot be read says what is in force instead', () => {
  const status = (kind: Kind, spec: string): string => statusOf(kind, spec)[acceptedType] ?? '';
  assert.match(
    status('AuthorizationPolicy', '{ rules: 1 }'),
    /^False Invalid .*all traffic to what it selects is denied/,
  );
  assert.match(
    status('PeerAuthentication', '{ mtls: 1 }'),
    /^False Invalid .*plaintext to what it selects is denied/,
  );
});
