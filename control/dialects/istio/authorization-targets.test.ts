/** Policies of a waypoint: which Services they are for, also after changes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { istio } from '../../../test/support/istio-security.js';
import { compile, type Compiler } from '../../compile/compile.js';
import { objectKey } from '../../objects/object-key.js';
import type { MeshObject } from '../../objects/objects.js';
import { parseManifests } from '../../source/parse.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' };
const read = (text: string): MeshObject[] => {
  const { objects, errors } = parseManifests('x', text);
  assert.deepEqual(errors, []);
  return objects;
};
const service = (namespace: string, name: string, waypoint = 'bank'): string =>
  `kind: Service\napiVersion: v1\nmetadata: { name: ${name}, namespace: ${namespace}, labels: { weft.dev/waypoint: wp, weft.dev/waypoint-namespace: ${waypoint} } }
spec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }] }\n`;
const gateway = (namespace: string, from: string): string =>
  `apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: wp, namespace: ${namespace} }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE, allowedRoutes: { namespaces: { from: ${from} } } }] }\n`;
const ofGateway = 'targetRefs: [{ kind: Gateway, group: gateway.networking.k8s.io, name: wp }]';
const ofClass = (name: string): string =>
  `targetRefs: [{ kind: GatewayClass, group: gateway.networking.k8s.io, name: ${name} }]`;

/** The Services of each policy. */
const targets = (compiler: Compiler): Record<string, readonly string[]> =>
  Object.fromEntries(
    [...compiler.all()].flatMap((one) =>
      one.kind === 'policy' ? [[one.value.key, one.value.services]] : [],
    ),
  );
function apply(compiler: Compiler, text: string, isDeleted = false): void {
  compiler.apply(new Map(read(text).map((object) => [objectKey(object), isDeleted ? undefined : object])));
}
const key = (service: string): string => {
  const [namespace = '', name = ''] = service.split('/');
  return `${namespace}/${name}.${namespace}.svc.cluster.local`;
};

test('a policy of a Gateway is for each Service that the Gateway serves, as Services, consent and the policy change', () => {
  const compiler = compile(
    [gateway('bank', 'Same'), service('bank', 'api'), service('shop', 'web')].flatMap(read),
    settings,
  );
  assert.deepEqual(targets(compiler), {});
  const policy = istio('AuthorizationPolicy', `{ ${ofGateway} }`);
  apply(compiler, policy);
  const ofApi = { 'bank/AuthorizationPolicy/p@api.bank': [key('bank/api')] };
  assert.deepEqual(targets(compiler), ofApi);
  apply(compiler, gateway('bank', 'All'));
  const ofWeb = { 'bank/AuthorizationPolicy/p@web.shop': [key('shop/web')] };
  assert.deepEqual(targets(compiler), { ...ofApi, ...ofWeb });
  apply(compiler, service('bank', 'api'), true);
  assert.deepEqual(targets(compiler), ofWeb);
  apply(compiler, service('shop', 'web', 'other'));
  assert.deepEqual(targets(compiler), {});
  apply(compiler, service('shop', 'web'));
  apply(compiler, policy, true);
  assert.deepEqual(targets(compiler), {});
});

test('a policy of a class in the root namespace is for the Services of every waypoint; that of another class for none', () => {
  const objects = [
    gateway('bank', 'Same'),
    gateway('shop', 'Same'),
    service('bank', 'api'),
    service('shop', 'web', 'shop'),
  ];
  const of = (name: string, namespace: string): string[] => {
    const compiler = compile(objects.flatMap(read), settings);
    apply(compiler, istio('AuthorizationPolicy', `{ ${ofClass(name)} }`, { namespace }));
    return Object.keys(targets(compiler)).sort();
  };
  const all = ['weft-system/AuthorizationPolicy/p@api.bank', 'weft-system/AuthorizationPolicy/p@web.shop'];
  assert.deepEqual(of('weft-waypoint', 'weft-system'), all);
  assert.deepEqual(of('istio-waypoint', 'weft-system'), all);
  assert.deepEqual(of('istio', 'weft-system'), []);
  assert.deepEqual(of('istio-waypoint', 'bank'), []);
});

test('a policy with several targets is for all of them', () => {
  const two = 'targetRefs: [{ kind: Service, name: a }, { kind: Service, group: "", name: b }]';
  const compiler = compile(read(istio('AuthorizationPolicy', `{ ${two} }`)), settings);
  assert.deepEqual(targets(compiler), { 'bank/AuthorizationPolicy/p': [key('bank/a'), key('bank/b')] });
});

test('an uninstall takes back all policies', () => {
  const objects = [
    gateway('bank', 'Same'),
    service('bank', 'api'),
    istio('AuthorizationPolicy', `{ ${ofGateway} }`),
    istio('PeerAuthentication', '{ mtls: { mode: STRICT } }'),
  ];
  const compiler = compile(objects.flatMap(read), settings);
  assert.equal(Object.keys(targets(compiler)).length, 2);
  compiler.configure({ ...settings, removal: 'open' });
  assert.deepEqual(targets(compiler), {});
});
