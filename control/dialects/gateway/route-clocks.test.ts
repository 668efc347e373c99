import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { Route } from '../../../src/model/route.js';
import { shopManifest } from '../../../test/support/manifests.js';
import { parseManifests } from '../../source/parse.js';
import { compile } from '../../compile/compile.js';
import { isRoute, type Condition } from '../../objects/objects.js';
import { routeParents } from '../../status/route.js';

const now = '2026-02-02T00:00:00Z';
const serviceAndGateway = shopManifest();
function read(
  kind: string,
  annotations: string,
  rules: string,
): { readonly route: Route | undefined; readonly conditions: readonly Condition[] } {
  const { objects, errors } = parseManifests(
    'x',
    `${serviceAndGateway}---
apiVersion: gateway.networking.k8s.io/v1
kind: ${kind}
metadata: { name: r, namespace: shop, annotations: { ${annotations} } }
spec: { parentRefs: [{ group: '', kind: Service, name: api }], rules: [${rules}] }
`,
  );
  assert.deepEqual(errors, []);
  const compiler = compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
  const object = [...compiler.keys()]
    .map((key) => compiler.object(key))
    .find((one) => one !== undefined && isRoute(one));
  assert.ok(object && isRoute(object));
  const compiled = compiler.route(object);
  return {
    route: compiled.route,
    conditions: routeParents(object, compiled, compiler, now)[0]?.conditions ?? [],
  };
}
const backend = 'backendRefs: [{ name: api, port: 80 }]';

test('idle timeouts of a route apply to all of its rules, for HTTP and gRPC', () => {
  const both = "weft.dev/stream-idle-timeout: '0s', weft.dev/request-body-idle-timeout: 2m";
  for (const kind of ['HTTPRoute', 'GRPCRoute']) {
    const { route, conditions } = read(kind, both, `{ ${backend} }, { ${backend} }`);
    for (const rule of route?.rules ?? [])
      assert.deepEqual(rule.idleTimeouts, { bodyIdleMs: 120_000, streamIdleMs: 0 });
    assert.equal(route?.rules.length, 2);
    assert.deepEqual(
      conditions.map(({ type, status }) => `${type} ${status}`),
      ['Accepted True', 'ResolvedRefs True'],
    );
  }
  assert.equal(read('HTTPRoute', '', `{ ${backend} }`).route?.rules[0]?.idleTimeouts, undefined);
});

test('an unreadable idle timeout leaves the waypoint’s own in force, and the route’s status reports it', () => {
  const { route, conditions } = read(
    'HTTPRoute',
    "weft.dev/stream-idle-timeout: '5 minutes'",
    `{ ${backend} }`,
  );
  assert.equal(route?.rules[0]?.idleTimeouts, undefined);
  assert.equal(route?.rules[0]?.backends[0]?.target.kind, 'service', 'its requests are served');
  const enforced = conditions.find(({ type }) => type === 'weft.dev/Enforced');
  assert.deepEqual([enforced?.status, enforced?.reason], ['False', 'UnsupportedValue']);
  assert.match(enforced?.message ?? '', /weft.dev\/stream-idle-timeout: "5 minutes" is no duration/);
});
