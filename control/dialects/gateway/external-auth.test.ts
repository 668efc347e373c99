/** External authorization by routes: the filter externalAuth (GEP-1494), and the annotation of routes that go without. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { RouteRule } from '../../../src/model/route.js';
import { parseManifests } from '../../source/parse.js';
import { compile } from '../../compile/compile.js';
import { isRoute } from '../../objects/objects.js';
import type { CompiledRoute } from './routes.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const service = (name: string, namespace = 'shop'): string =>
  `---\nkind: Service\nmetadata: { name: ${name}, namespace: ${namespace} }
spec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }, { port: 81 }] }\n`;
const manifest = (spec: string): string =>
  `---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: r, namespace: shop }
spec: ${spec}\n`;
const parent = "parentRefs: [{ group: '', kind: Service, name: api }]";

function compiled(text: string): CompiledRoute {
  const { objects, errors } = parseManifests(
    'x',
    service('api') + service('v2') + service('far', 'other') + text,
  );
  assert.deepEqual(errors, []);
  const compiler = compile(objects, settings);
  const found = objects.find(isRoute);
  assert.ok(found);
  return compiler.route(found);
}
function ruleOf(rule: string): RouteRule {
  const first = compiled(manifest(`{ ${parent}, rules: [{ ${rule} }] }`)).route?.rules[0];
  assert.ok(first);
  return first;
}
const refusal = (rule: string): string => {
  const { errors } = parseManifests('x', manifest(`{ ${parent}, rules: [{ ${rule} }] }`));
  assert.ok(errors[0], 'it was accepted');
  return `${errors[0].field}: ${errors[0].message}`;
};

test('externalAuth asks a Service by either protocol, and refuses what the published CRD refuses', () => {
  const auth = (text: string): string => `filters: [{ type: ExternalAuth, externalAuth: { ${text} } }]`;
  const filterOf = (text: string) => {
    const [first] = ruleOf(auth(text)).filters;
    assert.equal(first?.$case, 'externalAuthorization');
    return first.value;
  };
  const grpc = filterOf(
    'protocol: GRPC, backendRef: { name: v2, port: 81 }, grpc: { allowedHeaders: [X-A] }, forwardBody: { maxSize: 1000 }',
  );
  const service = { service: 'shop/v2.shop.svc.cluster.local', port: 81, invalid: '' };
  assert.deepEqual(
    [grpc.service, grpc.protocol?.$case, grpc.requestHeaders, grpc.upstreamHeaders, grpc.bodyBytesMax],
    [service, 'grpc', ['x-a'], [], 1000],
  );
  assert.deepEqual([grpc.failOpen, grpc.bodyPartial, grpc.timeoutMs], [false, false, 200]);
  const http = filterOf(
    'protocol: HTTP, backendRef: { name: far, namespace: other, port: 80 }, http: { path: check }',
  );
  assert.deepEqual(
    [http.service?.service, http.protocol?.value, http.requestHeaders, http.upstreamHeaders],
    ['other/far.other.svc.cluster.local', { pathPrefix: '/check' }, [], ['*']],
  );
  const listed = filterOf(
    'protocol: HTTP, backendRef: { name: v2, port: 80 }, http: { allowedResponseHeaders: [X-User] }',
  );
  assert.deepEqual(listed.upstreamHeaders, ['x-user']);
  const ref = 'backendRef: { name: v2, port: 80 }';
  assert.match(refusal(auth(`protocol: GRPC, ${ref}, http: {}`)), /protocol GRPC needs grpc, and no other/);
  assert.match(refusal(auth(`protocol: HTTP, ${ref}`)), /protocol HTTP needs http/);
  assert.match(
    refusal(auth(`protocol: HTTP, ${ref}, http: {}, forwardBody: { maxSize: 2000000 }`)),
    /maxSize: at most/,
  );
  assert.match(refusal(auth(`protocol: HTTP, ${ref}, http: { path: '/a?b' }`)), /path/);
  assert.match(refusal(auth(`protocol: TCP, ${ref}`)), /protocol/);
  assert.match(refusal('filters: [{ type: ExternalAuth }]'), /needs externalAuth/);
});

test('a decision service that does not exist closes the rule and is reported', () => {
  const one = compiled(
    manifest(
      `{ ${parent}, rules: [{ filters: [{ type: ExternalAuth, externalAuth: { protocol: GRPC, backendRef: { name: gone, port: 80 }, grpc: {} } }] }] }`,
    ),
  );
  const [first] = one.route?.rules[0]?.filters ?? [];
  assert.equal(first?.$case === 'externalAuthorization' && first.value.service?.service, '');
  assert.equal(one.unresolved?.reason, 'BackendNotFound');
});

test('the annotation for requests without a decision is on all rules, and another value is reported', () => {
  const annotated = (value: string) =>
    compiled(
      manifest(`{ ${parent} }`).replace(
        'namespace: shop }',
        `namespace: shop, annotations: { weft.dev/external-authorization: ${value} } }`,
      ),
    );
  assert.equal(annotated('disabled').route?.rules[0]?.withoutExternalAuthorization, true);
  assert.equal(annotated('none').route?.rules[0]?.withoutExternalAuthorization, undefined);
  assert.match(annotated('none').unread ?? '', /decision services are asked/);
});
