import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { test } from 'node:test';
import { parseManifests } from '../../control/source/files.js';
import {
  decodeAddress,
  decodeAuthorization,
  decodeEnrolledNamespace,
  decodeNodePod,
  decodeRoute,
  decodeTrust,
  decodeUncapturedPod,
} from '../../src/discovery/decode.js';
import { decodeRequest } from '../../daemonset/cni/protocol.js';
import { encodeTold } from '../../control/serve/resources.js';
import { compile } from '../../control/compile/compile.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { parseLeaf, spiffeIdOfNames } from '../../src/tls/certificate.js';
import { createCsr, createRoot, parseCsr } from '../../src/tls/issue.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import { decodeEvent } from '../../daemonset/datapath/layout.js';

const boxMs = 1_500;

/** Random bytes and mutations of good ones, for a stated time. */
function fuzz(seeds: readonly Uint8Array[], decode: (bytes: Uint8Array) => void): number {
  const end = Date.now() + boxMs;
  let rounds = 0;
  while (Date.now() < end) {
    const seed = seeds[randomInt(seeds.length)] ?? new Uint8Array();
    let bytes = Buffer.from(seed);
    for (let i = randomInt(6); i >= 0; i--) {
      const at = randomInt(bytes.length + 1);
      const kind = randomInt(4);
      if (kind === 0)
        bytes = Buffer.concat([bytes.subarray(0, at), randomBytes(randomInt(9)), bytes.subarray(at)]);
      else if (kind === 1) bytes = bytes.subarray(0, at);
      else if (kind === 2 && at < bytes.length) bytes[at] = randomInt(256);
      else
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          bytes.subarray(Math.min(bytes.length, at + randomInt(9))),
        ]);
    }
    decode(rounds % 5 === 0 ? randomBytes(randomInt(200)) : bytes);
    rounds++;
  }
  return rounds;
}

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
metadata: { name: api, namespace: shop }
spec: { selector: { app: api }, clusterIP: 10.96.0.1, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: p, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ identities: ['*/sa/x'], cidrs: [10.0.0.0/8] }], to: [{ ports: [80], paths: ['/a/{*}'], headers: [{ name: x }] }] }] }
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

test('discovery decoders answer every byte string with a value or errors', () => {
  assert.deepEqual(parsed.errors, []);
  const seeds = [...compiled.all()].map(encodeTold);
  assert.equal(seeds.length, 8);
  const rounds = fuzz(seeds, (bytes) => {
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
  });
  assert.ok(rounds > 1000);
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

test('kernel events of any content decode', () => {
  fuzz([new Uint8Array(56)], (bytes) => {
    if (bytes.length >= 56) decodeEvent(bytes);
  });
});

test("the CNI plugin's questions of any content decode, or are none", () => {
  const question =
    '{"command":"ADD","namespace":"shop","name":"web","podUid":"u","pid":7,"fd":3,"addresses":["10.0.0.1","fd00::1"]}';
  fuzz([Buffer.from(question)], (bytes) => void decodeRequest(Buffer.from(bytes).toString('utf8')));
});
