import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseManifests } from '../../control/source/parse.js';
import { decodeAddress, readAddress } from '../../src/discovery/codec/address.js';
import {
  decodeEnrolledNamespace,
  decodeNodePod,
  decodeTrust,
  decodeUncapturedPod,
} from '../../src/discovery/codec/node-pod.js';
import {
  decodeAuthorization,
  readAuthorization,
  encodeAuthorization,
} from '../../src/discovery/codec/policy.js';
import { decodeRoute, readRoute } from '../../src/discovery/codec/route.js';
import { readServicePolicy } from '../../src/discovery/codec/service-policy.js';
import { isPlausible } from '../../control/authentication/review-limits.js';
import { parseRevocations } from '../../control/authentication/revocations.js';
import { WeftError } from '../../src/base/errors.js';
import { authorize } from '../../src/policy/authorize.js';
import { parseIp } from '../../src/model/address.js';
import { emptyMatch } from '../../src/model/policy.js';
import { decodeRequest } from '../../daemonset/cni/protocol.js';
import { encodeResource } from '../../control/serve/resources.js';
import { compile } from '../../control/compile/compile.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { parseLeaf, spiffeIdOfNames } from '../../src/tls/certificate.js';
import { createRoot } from '../../src/tls/issue.js';
import { createCsr, parseCsr } from '../../src/tls/csr.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import { decodeEvent } from '../../daemonset/maps/events.js';
import { fuzz } from '../support/fuzz.js';

const manifest = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Pod
metadata: { name: api, namespace: shop, labels: { app: api }, annotations: { weft.dev/netns: weft-api } }
spec: { nodeName: n1, serviceAccountName: api }
status: { podIPs: [{ ip: 10.0.0.1 }, { ip: 'fd00::1' }] }
---
apiVersion: v1
kind: Pod
metadata: { name: host, namespace: shop }
spec: { nodeName: n1, hostNetwork: true }
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: shop, labels: { weft.dev/waypoint: wp }, annotations: { weft.dev/load-balancing: random, weft.dev/stream-idle-timeout: 9s } }
spec: { selector: { app: api }, clusterIP: 10.96.0.1, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: p, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ identities: ['*/sa/x'], cidrs: [10.0.0.0/8], remoteCidrs: [192.0.2.0/24], jwt: { issuers: [i], claims: [{ path: [a, b], values: [c*], numbers: [1.5], boolean: true }] } }], to: [{ ports: [80], paths: ['/a/{*}'], headers: [{ name: x }] }, { sni: ['*.a.test'], notSni: [b.a.test] }] }] }
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: t, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: api }]
  loadBalancing: { type: Maglev, hashOn: [{ cookie: { name: s, ttl: 1h } }] }
  circuitBreaker: { requestsMax: 9, perClient: { requestsMax: 1 } }
  outlierDetection: { successRate: {} }
  healthChecks: [{ http: { path: /, statuses: ['200-299'] } }, { tcp: { send: a, receive: [b] } }]
  externalAuthorization: [{ name: a, service: { name: opa, port: 9191 }, requestHeaders: [x-a, x-b-*], body: { bytesMax: 9 }, cache: 1s }]
  retry: { conditions: [5xx, unavailable], perTryTimeout: 1s, hedge: true }
  timeouts: { request: 1s }
  rateLimits: [{ name: a, keys: [{ header: x }], requests: 1, per: 1s }, { name: b, requests: 1, per: 1m, global: {} }]
  faults: [{ name: c, matches: [{ path: { value: /v1 } }], abort: { reset: {}, percent: '1' } }]
  loadShedding: { adaptiveConcurrency: {}, priority: [{ from: [{ namespace: m }] }] }
---
apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: { name: j, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: api }]
  jwt: { issuers: [{ issuer: a, audiences: [b], jwks: { uri: 'https://a.example' }, from: [{ header: { name: x, prefix: y } }, { query: q }, { cookie: c }], claimHeaders: [{ header: h, claim: [a, b] }] }] }
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: u, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: api, sectionName: http }]
  from: [{ serviceAccount: web }]
  faults: [{ name: c, delay: { duration: 1s, percent: '1' } }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: api }]
  rules:
    - matches: [{ path: { value: /v1 }, headers: [{ name: X, value: y }], queryParams: [{ name: q, value: z }] }]
      filters:
        - { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: a, value: b }] } }
        - { type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }
        - { type: RequestMirror, requestMirror: { backendRef: { name: api, port: 80 }, percent: 5 } }
        - { type: CORS, cors: { allowOrigins: ['https://*.test'] } }
      backendRefs: [{ name: api, port: 80 }, { name: none, port: 1, weight: 2 }]
      timeouts: { request: 1h30m, backendRequest: 500ms }
      retry: { codes: [503], attempts: 2 }
      sessionPersistence: { cookie: { name: s } }
`;
const parsed = parseManifests('x.yaml', manifest);
const compiled = compile(parsed.objects, {
  trustDomain: parseTrustDomain('cluster.local'),
  rootsVersion: '1',
});

test('discovery decoders return a value or errors for every byte string', () => {
  assert.deepEqual(parsed.errors, []);
  const seeds = [...compiled.all()].map(encodeResource);
  assert.equal(seeds.length, 10);
  fuzz(seeds, (bytes) => {
    for (const decode of [
      decodeAddress,
      decodeAuthorization,
      decodeNodePod,
      decodeRoute,
      decodeTrust,
      decodeUncapturedPod,
      decodeEnrolledNamespace,
    ]) {
      const result = decode(bytes);
      if (!result.ok) assert.ok(result.errors.length > 0);
    }
    const policy = readServicePolicy('shop/api.shop.svc.cluster.local:80', bytes);
    assert.ok(policy.value, 'a policy with a name always has a form in force');
    if (policy.problems.length > 0) assert.ok(policy.value.closed, 'what is not understood is closed');
  });
});

test('reading a policy never throws, and returns a complete policy or problems', () => {
  const seeds = [...compiled.all()].map(encodeResource);
  fuzz(seeds, (bytes) => {
    const policy = readAuthorization('shop/p', bytes, 'weft-system');
    assert.ok(policy.value, 'a policy with a name always has a form in force');
    for (const [reading, strict] of [
      [policy, decodeAuthorization(bytes)],
      [readRoute('HTTPRoute/shop/r', bytes), decodeRoute(bytes)],
      [readAddress('Kubernetes//Pod/shop/api', bytes), decodeAddress(bytes)],
    ] as const) {
      if (strict.ok) assert.deepEqual(reading, { value: strict.value, problems: [] });
      else if (reading.value !== undefined && policy !== reading) assert.ok(reading.problems.length > 0);
    }
  });
});

test('an additional field of any number in a restrictive policy does not open it', () => {
  const nobody = {
    ...emptyMatch,
    destinationPorts: [80],
    serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }],
  };
  const attributes = {
    identity: parseSpiffeId('spiffe://cluster.local/ns/evil/sa/x'),
    sourceIp: parseIp('10.0.0.1'),
    destinationIp: parseIp('10.0.0.2'),
    destinationPort: 80,
  };
  const seed = encodeAuthorization({
    key: 'shop/p' as never,
    name: 'p',
    namespace: 'shop',
    scope: 'namespace',
    services: [],
    action: 'allow',
    dryRun: false,
    rules: [{ clauses: [{ matches: [nobody] }] }],
  });
  for (let field = 1; field < 2_000; field++) {
    // Appends a field to the policy, as a number and as a message. Known fields keep their meaning.
    for (const type of [0, 2]) {
      const tag = (field << 3) | type;
      const varint = tag < 128 ? [tag] : [(tag & 127) | 128, tag >> 7];
      const bytes = Buffer.concat([seed, Buffer.from(type === 0 ? [...varint, 1] : [...varint, 1, 0])]);
      const { value } = readAuthorization('shop/p', bytes, 'weft-system');
      assert.ok(value);
      // Fields 4 and 6: the action and the dry run.
      const known = type === 0 && [4, 6].includes(field);
      if (!known)
        assert.equal(authorize([value], attributes).allowed, false, `field ${field} of type ${type}`);
    }
  }
});

test('tokens and revocations with any content are decoded or rejected', () => {
  const token = 'eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsiaXN0aW8tY2EiXX0.AAAA';
  fuzz([Buffer.from(token)], (bytes) => void isPlausible(Buffer.from(bytes).toString('latin1')));
  fuzz([Buffer.from('{"id":"a"}\n{"subject":"n1","beforeS":10}\n')], (bytes) => {
    try {
      parseRevocations(Buffer.from(bytes).toString('utf8'));
    } catch (error) {
      assert.ok(error instanceof WeftError && error.code === 'WEFT_REVOCATIONS');
    }
  });
});

test('certificate and request decoders never throw', () => {
  const { csrPem } = createCsr(parseSpiffeId('spiffe://cluster.local/ns/a/sa/b'));
  const { certPem } = createRoot(parseTrustDomain('cluster.local'), 60);
  fuzz([Buffer.from(csrPem), Buffer.from(certPem)], (bytes) => {
    parseCsr(Buffer.from(bytes).toString('latin1'));
    parseLeaf(Buffer.from(bytes));
    spiffeIdOfNames(Buffer.from(bytes).toString('latin1'));
  });
});

test('the manifest reader never throws and never accepts what it cannot compile', () => {
  fuzz([Buffer.from(manifest)], (bytes) => {
    const { objects } = parseManifests('x.yaml', Buffer.from(bytes).toString('utf8'));
    for (const object of objects) compile([object], { trustDomain: parseTrustDomain('t'), rootsVersion: '' });
  });
});

test('kernel events with any content decode', () => {
  fuzz([new Uint8Array(56)], (bytes) => {
    if (bytes.length >= 56) decodeEvent(bytes);
  });
});

test("the CNI plugin's requests with any content decode or are rejected", () => {
  const question =
    '{"command":"ADD","namespace":"shop","name":"web","podUid":"u","pid":7,"fd":3,"addresses":["10.0.0.1","fd00::1"]}';
  fuzz([Buffer.from(question)], (bytes) => void decodeRequest(Buffer.from(bytes).toString('utf8')));
});
