import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manifestFindings } from './manifest-findings.js';

const check = (...texts: readonly string[]): string[] =>
  manifestFindings(
    texts.map((text, index) => ({ file: `${index}.yaml`, text })),
    'weft-system',
  ).map(({ level, what }) => `${level} ${what}`);
const one = (found: readonly string[], expected: RegExp): void =>
  assert.equal(found.filter((line) => expected.test(line)).length, 1, found.join('\n'));

const mesh = `apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---\napiVersion: v1\nkind: Pod\nmetadata: { name: api, namespace: shop, labels: { app: api } }
spec: { nodeName: a, containers: [{ ports: [{ containerPort: 8080 }] }] }\nstatus: { podIPs: [{ ip: 10.244.0.1 }] }
---\napiVersion: v1\nkind: Service\nmetadata: { name: api, namespace: shop }
spec: { clusterIP: 10.96.0.1, selector: { app: api }, ports: [{ port: 80, targetPort: 8080 }] }`;
const policy = (spec: string): string =>
  `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p, namespace: shop }\nspec: ${spec}`;

test('valid manifests give one finding that says so', () => {
  assert.deepEqual(
    check(
      mesh,
      policy(
        '{ action: DENY, selector: { matchLabels: { app: api } }, rules: [{ to: [{ ports: [8080] }] }] }',
      ),
    ),
    ['ok 4 objects of 2 files are valid'],
  );
});

test("objects in Istio's root namespace that would count for the whole mesh there are found, and only those", () => {
  const istio = (kind: string, spec: string, namespace = 'istio-system', group = 'security'): string =>
    `apiVersion: ${group}.istio.io/v1\nkind: ${kind}\nmetadata: { name: default, namespace: ${namespace} }\nspec: ${spec}`;
  const strict = '{ mtls: { mode: STRICT } }';
  const found =
    /^warn (PeerAuthentication|AuthorizationPolicy|DestinationRule|Sidecar) istio-system\/default: metadata\.namespace: istio-system is Istio's root namespace, and weft-system is Weft's: the object counts for istio-system alone; use namespace: weft-system$/;
  one(check(mesh, istio('PeerAuthentication', strict)), found);
  one(check(mesh, istio('AuthorizationPolicy', '{ action: DENY, rules: [{}] }')), found);
  one(
    check(
      mesh,
      istio('DestinationRule', '{ host: "*.shop.svc.cluster.local" }', 'istio-system', 'networking'),
    ),
    found,
  );
  one(check(mesh, istio('Sidecar', '{ egress: [{ hosts: ["*/*"] }] }', 'istio-system', 'networking')), found);
  for (const lines of [
    check(mesh, istio('PeerAuthentication', strict, 'weft-system')),
    check(mesh, istio('PeerAuthentication', strict, 'shop')),
    check(mesh, istio('VirtualService', '{ hosts: [api] }', 'istio-system', 'networking')),
    manifestFindings([{ file: 'a.yaml', text: istio('PeerAuthentication', strict) }], 'istio-system').map(
      ({ what }) => what,
    ),
  ])
    assert.deepEqual(
      lines.filter((line) => line.includes('root namespace')),
      [],
    );
});

test('findings about a cluster are found in its files as well', () => {
  const deny = policy(
    '{ action: DENY, selector: { matchLabels: { app: api } }, rules: [{ to: [{ ports: [80] }] }] }',
  );
  one(
    check(mesh, deny),
    /^fail AccessPolicy shop\/p: ports 80 is the port of Service shop\/api, .* it denies nothing/,
  );
  one(
    check(mesh, policy('{ action: DENY, selector: { matchLabels: { app: apu } }, rules: [] }')),
    /^warn .*did you mean app=api\?/,
  );
  one(
    check(mesh.replace('weft.dev/mesh', 'weft.dev/mseh')),
    /^fail Namespace shop: label weft\.dev\/mseh is unknown: .*did you mean weft\.dev\/mesh\?/,
  );
  one(
    check(
      mesh.replace(
        'name: api, namespace: shop }\nspec: { clusterIP',
        'name: api, namespace: shop, labels: { istio.io/use-waypoint: wp } }\nspec: { clusterIP',
      ),
    ),
    /^fail Service shop\/api names the waypoint shop\/wp \(label istio\.io\/use-waypoint\), and there is no Gateway/,
  );
  const route = `apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: r, namespace: shop }
spec: { parentRefs: [{ kind: Service, name: api }] }`;
  one(check(mesh, route), /^fail HTTPRoute shop\/r: parentRef api: .*add group: ""/);
  const attached = route.replace('kind: Service,', "group: '', kind: Service,");
  const lost = attached.replace(/}$/, ', rules: [{ backendRefs: [{ name: v2, port: 80 }] }] }');
  one(check(mesh, lost), /^fail HTTPRoute shop\/r: there is no Service shop\/v2/);
  one(check(mesh, attached), /^warn HTTPRoute shop\/r: Service shop\/api has no waypoint/);
  one(
    check(
      mesh,
      policy('{ action: DENY, selector: { matchLabels: { app: api } }, rules: [{ to: [{ paths: [/a] }] }] }'),
    ),
    /^warn AccessPolicy shop\/p: .*no waypoint/,
  );
});

test('findings that only files can have', () => {
  one(check(mesh, policy('{ action: MAYBE, rules: [] }')), /^fail 1\.yaml:4: spec\.action: /);
  one(check(mesh, 'a: ['), /^fail 1\.yaml:1: /);
  one(
    check(mesh, 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x }'),
    /^ok 1\.yaml: not used by Weft: 1 ConfigMap \(v1\)/,
  );
  one(
    check(mesh, mesh.replace('port: 80,', 'port: 81,')),
    /^warn 1\.yaml:11: Service shop\/api is also defined in 0\.yaml:11 with/,
  );
});

test('annotations on Gateways and routes that have no effect', () => {
  const found = check(
    mesh,
    `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: shop, annotations: { weft.dev/stream-idle-timout: 1h } }
spec: { parentRefs: [{ group: '', kind: Service, name: api }], rules: [{ backendRefs: [{ name: api, port: 80 }] }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: w, namespace: shop, annotations: { weft.dev/request-head-timout: 5s } }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }`,
  );
  one(found, /^warn HTTPRoute shop\/r: annotation weft\.dev\/stream-idle-timout is unknown: did you mean/);
  one(found, /^warn Gateway shop\/w: annotation weft\.dev\/request-head-timout is unknown: did you mean/);
});

const deployment = (labels: string): string =>
  `---\napiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web, namespace: shop }
spec: { selector: { matchLabels: { app: web } }, template: { metadata: { labels: { ${labels} } }, spec: { containers: [{ name: web, image: web, ports: [{ name: http, containerPort: 8081 }] }] } } }\n`;

test('a Deployment stands for the pods that it would create', () => {
  const namespace =
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled } }\n';
  const allow = (ports: number): string =>
    policy(
      `{ action: ALLOW, selector: { matchLabels: { app: web } }, rules: [{ to: [{ ports: [${ports}] }] }] }`,
    );
  assert.deepEqual(check(`${namespace}${deployment('app: web')}`, allow(8081)), [
    'ok 3 objects of 2 files are valid',
  ]);
  one(check(`${namespace}${deployment('app: web')}`, allow(80)), /^warn AccessPolicy shop\/p: .*80/);
  one(
    check(`${namespace}${deployment("app: web, 'weft.dev/mesh': disabled")}`, allow(8081)),
    /^fail AccessPolicy shop\/p is not enforced: none of the 1 pods/,
  );
  one(
    check(`${namespace}${deployment("app: web, 'weft.dev/mdoe': strict")}`, allow(8081)),
    /^fail Pod shop\/web \(of a Deployment\): label weft\.dev\/mdoe is unknown: .*did you mean weft\.dev\/mode\?/,
  );
});

test('a policy on requests is enforced if a Service of the Deployment has a waypoint', () => {
  const files = (
    waypoint: string,
  ): string => `apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled${waypoint} } }
---\napiVersion: v1\nkind: Service\nmetadata: { name: web, namespace: shop }\nspec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: http }] }
---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
${deployment('app: web')}`;
  const get = policy(
    '{ action: ALLOW, selector: { matchLabels: { app: web } }, rules: [{ to: [{ methods: [GET] }] }] }',
  );
  assert.ok(check(files(", 'weft.dev/waypoint': wp"), get).every((line) => line.startsWith('ok')));
  one(check(files(''), get), /^warn AccessPolicy shop\/p: Service shop\/web has no waypoint/);
});

test('no manifest at all is a failure', () => {
  assert.deepEqual(check(), ['fail there is no manifest']);
});
