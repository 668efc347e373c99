import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { parseManifests } from '../source/parse.js';
import { closedRoute } from '../compile/closed.js';
import { compile, type Compiler } from '../compile/compile.js';
import {
  isRoute,
  type AccessPolicyObject,
  type Condition,
  type GatewayObject,
  type MeshObject,
} from '../objects/objects.js';
import { waypointStatus } from './gateway.js';
import type { WaypointHealth } from './status.js';
import { policyEnforcement } from './policy.js';
import { routeParents } from './route.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const [earlier, now] = ['2026-01-01T00:00:00Z', '2026-02-02T00:00:00Z'];
const service = (labels = '', more = 'clusterIP: 10.96.0.1'): string =>
  `---\nkind: Service\nmetadata: { name: api, namespace: shop, labels: { ${labels} } }
spec: { ${more}, ports: [{ port: 80 }] }\n`;
const gatewayText = `---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway
metadata: { name: wp, namespace: shop, generation: 3 }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }\n`;
const routeText = (rules: string, status = '{}'): string =>
  `---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute
metadata: { name: r, namespace: shop, generation: 7 }
spec: { parentRefs: [{ name: gw }, { group: '', kind: Service, name: api }], rules: [{ ${rules} }] }
status: ${status}\n`;
const labelled = 'weft.dev/waypoint: wp';

function load(text: string): Compiler {
  const { objects, errors } = parseManifests('x', text);
  assert.deepEqual(errors, []);
  return compile(objects, settings);
}
const find = (compiler: Compiler, kind: string): MeshObject => {
  const found = [...compiler.keys()]
    .map((key) => compiler.object(key))
    .find((object) => object?.kind === kind);
  assert.ok(found);
  return found;
};
function parentsOf(text: string, invalid?: string): ReturnType<typeof routeParents> {
  const compiler = load(text);
  const route = find(compiler, 'HTTPRoute');
  assert.ok(isRoute(route));
  const taken = invalid === undefined ? route : closedRoute(route, invalid);
  return routeParents(taken, compiler.route(taken), compiler, now);
}
/** `type status reason` of each condition of the only parent, which is Weft's. */
const saidOf = (text: string): string[] => {
  const [only, ...others] = parentsOf(text);
  assert.ok(only);
  assert.deepEqual(others, []);
  return (only.conditions ?? []).map(({ type, status, reason }) => `${type} ${status} ${reason}`);
};

test("a route that a waypoint serves is accepted at its Service, with the route's generation", () => {
  assert.deepEqual(parentsOf(service(labelled) + gatewayText + routeText('')), [
    {
      parentRef: { group: '', kind: 'Service', name: 'api' },
      controllerName: 'weft.dev/waypoint',
      conditions: [
        {
          type: 'Accepted',
          status: 'True',
          reason: 'Accepted',
          message: 'attached to the Service',
          observedGeneration: 7,
          lastTransitionTime: now,
        },
        {
          type: 'ResolvedRefs',
          status: 'True',
          reason: 'ResolvedRefs',
          message: 'all references are resolved',
          observedGeneration: 7,
          lastTransitionTime: now,
        },
      ],
    },
  ]);
});

test('the condition Enforced of a route without a waypoint names what is missing', () => {
  const text = (labels: string): string => service(labels) + routeText('');
  const good = ['Accepted True Accepted', 'ResolvedRefs True ResolvedRefs'];
  assert.deepEqual(saidOf(text('')), [...good, 'weft.dev/Enforced False NoWaypoint']);
  assert.match(
    parentsOf(text(''))[0]?.conditions?.[2]?.message ?? '',
    /label it or its namespace weft\.dev\/waypoint=<name>, and create the Gateway/,
  );
  assert.deepEqual(saidOf(text(labelled)), [...good, 'weft.dev/Enforced False WaypointMissing']);
});

test("problems of a route have the Gateway API's conditions and reasons", () => {
  const wp = service(labelled) + gatewayText;
  assert.deepEqual(saidOf(wp + routeText('backendRefs: [{ name: gone, port: 80 }]')), [
    'Accepted True Accepted',
    'ResolvedRefs False BackendNotFound',
  ]);
  const auth = '{ protocol: GRPC, backendRef: { name: gone, port: 80 }, grpc: {} }';
  assert.deepEqual(saidOf(wp + routeText(`filters: [{ type: ExternalAuth, externalAuth: ${auth} }]`)), [
    'Accepted True Accepted',
    'ResolvedRefs False BackendNotFound',
  ]);
  assert.deepEqual(saidOf(service(labelled, 'clusterIP: None') + routeText('')), [
    'Accepted False NoMatchingParent',
    'ResolvedRefs True ResolvedRefs',
  ]);
  const [refused] = parentsOf(wp + routeText(''), 'the path is none');
  const why = 'the path is none; requests that it might match are answered with 500';
  assert.deepEqual(
    refused?.conditions?.map(({ status, reason, message }) => [status, reason, message]),
    [
      ['False', 'UnsupportedValue', why],
      ['True', 'ResolvedRefs', 'all references are resolved'],
    ],
  );
});

test("other controllers' entries stay unchanged, Weft's entries of former parents are removed, unchanged conditions keep their time", () => {
  const other = `{ parentRef: { name: gw }, controllerName: other.test/x, conditions: [{ type: Odd, status: 'True' }] }`;
  const entry = (ref: string, accepted: string): string =>
    `{ parentRef: ${ref}, controllerName: weft.dev/waypoint, conditions: [
      { type: Accepted, status: '${accepted}', lastTransitionTime: '${earlier}' },
      { type: Old, status: 'True' }] }`;
  const of = (accepted: string): ReturnType<typeof routeParents> =>
    parentsOf(
      service(labelled) +
        gatewayText +
        routeText(
          '',
          `{ parents: [${entry("{ group: '', kind: Service, name: api, namespace: shop }", accepted)}, ${other},
            ${entry("{ group: '', kind: Service, name: gone }", 'True')}] }`,
        ),
    );
  const same = of('True');
  assert.deepEqual(
    same.map(({ controllerName, parentRef }) => [controllerName, parentRef.name]),
    [
      ['weft.dev/waypoint', 'api'],
      ['other.test/x', 'gw'],
    ],
  );
  assert.deepEqual(same[1]?.conditions, [{ type: 'Odd', status: 'True' }]);
  assert.deepEqual(
    same[0]?.conditions?.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]),
    [
      ['Accepted', earlier],
      ['ResolvedRefs', now],
    ],
  );
  assert.equal(of('False')[0]?.conditions?.[0]?.lastTransitionTime, now);
});

test('the condition Enforced of a policy with targetRefs tells whether its Services have a waypoint', () => {
  const enforced = (spec: string, more = ''): string | undefined => {
    const compiler = load(
      `kind: AccessPolicy\nmetadata: { name: p, namespace: shop }\nspec: { action: ALLOW, ${spec} }\n${more}`,
    );
    const said = policyEnforcement(find(compiler, 'AccessPolicy') as AccessPolicyObject, compiler);
    return said && `${said.status} ${said.reason}`;
  };
  const target = "targetRefs: [{ group: '', kind: Service, name: api }], rules: []";
  assert.equal(enforced('rules: [{ to: [{ ports: [80] }] }]'), undefined);
  assert.equal(enforced(target), 'False TargetNotFound');
  assert.equal(enforced(target, service()), 'False NoWaypoint');
  assert.equal(enforced(target, service(labelled)), 'False WaypointMissing');
  assert.equal(enforced(target, service(labelled) + gatewayText), 'True Enforced');
});

test('the condition Enforced of a policy with a selector tells whether each selected workload is behind a Service with a waypoint', () => {
  const pod = (name: string, app: string, more = ''): string =>
    `---\nkind: Pod\nmetadata: { name: ${name}, namespace: shop, labels: { app: ${app}, weft.dev/mesh: enabled${more} } }
spec: { nodeName: n1 }\n`;
  const selecting = (name: string, app: string, labels = ''): string =>
    service(labels, `selector: { app: ${app} }, clusterIP: 10.96.0.9`).replace('name: api', `name: ${name}`);
  const enforced = (spec: string, more: string, namespace = 'shop'): string | undefined => {
    const compiler = load(
      `kind: AccessPolicy\nmetadata: { name: p, namespace: ${namespace} }\nspec: { action: ALLOW, rules: [{ to: [{ paths: [/a] }] }]${spec} }\n${more}`,
    );
    const said = policyEnforcement(find(compiler, 'AccessPolicy') as AccessPolicyObject, compiler);
    return said && `${said.status} ${said.reason}`;
  };
  const behind = pod('a', 'a') + selecting('a', 'a', labelled);
  const beside = pod('b', 'b') + selecting('b', 'b');
  const ofA = ', selector: { matchLabels: { app: a } }';
  assert.equal(enforced('', ''), 'False NoWaypoint', 'nothing is selected');
  assert.equal(enforced('', behind), 'False WaypointMissing');
  assert.equal(enforced('', behind + gatewayText), 'True Enforced');
  assert.equal(enforced('', behind + beside + gatewayText), 'False NoWaypoint');
  assert.equal(enforced(ofA, behind + beside + gatewayText), 'True Enforced');
  assert.equal(
    enforced('', behind + pod('client', 'client') + gatewayText),
    'True Enforced',
    'no Service selects the client',
  );
  assert.equal(
    enforced('', behind + selecting('again', 'a') + gatewayText),
    'True Enforced',
    "the workload's agent accepts requests only from the waypoint, whatever the Service",
  );
  const outside = pod('b', 'b').replace('enabled', 'disabled') + selecting('b', 'b');
  assert.equal(enforced('', behind + outside + gatewayText), 'True Enforced', 'not in the mesh');
  assert.equal(enforced('', behind + gatewayText, 'weft-system'), 'True Enforced');
  assert.equal(enforced('', behind + beside + gatewayText, 'weft-system'), 'False NoWaypoint');
  assert.equal(
    enforced(ofA, behind + gatewayText, 'weft-system'),
    'False NoWaypoint',
    'a selector applies in the own namespace only',
  );
});

test('a Gateway whose waypoint Weft creates is programmed only with an available replica, otherwise its message has the reason', () => {
  const compiler = load(gatewayText + service().replace('name: api', 'name: wp'));
  const gateway = find(compiler, 'Gateway') as GatewayObject;
  const of = (health: WaypointHealth, there = true): string[] => {
    const own = there ? compiler.service('shop', 'wp') : undefined;
    const { conditions, listeners } = waypointStatus(gateway, own, now, health);
    const [listener] = listeners as { conditions: { type: string; status: string; reason: string }[] }[];
    const [accepted, programmed] = conditions.map(({ status, reason }) => `${status} ${reason}`);
    const listening = listener?.conditions.find(({ type }) => type === 'Programmed');
    for (const one of conditions) assert.equal(one.observedGeneration, 3);
    return [accepted ?? '', programmed ?? '', `${listening?.status} ${listening?.reason}`];
  };
  const well = { replicas: { wanted: 2, available: 1 } };
  assert.deepEqual(of(well), ['True Accepted', 'True Programmed', 'True Programmed']);
  assert.deepEqual(of({}), ['True Accepted', 'False Pending', 'False Pending']);
  assert.deepEqual(of(well, false), ['True Accepted', 'False AddressNotAssigned', 'False Pending']);
  const none = { replicas: { wanted: 0, available: 0 } };
  assert.deepEqual(of(none), ['True Accepted', 'False NoResources', 'False Pending']);
  const problem = { reason: 'InvalidParameters', message: 'there is no ConfigMap shop/cm' } as const;
  assert.deepEqual(of({ ...well, problem }), ['False InvalidParameters', 'False Invalid', 'False Invalid']);
  const refused = { reason: 'Invalid', message: 'm' } as const;
  assert.deepEqual(of({ ...well, problem: refused }), ['True Accepted', 'False Invalid', 'False Invalid']);
  const quota = {
    replicas: { wanted: 2, available: 0 },
    conditions: [
      { type: 'Available', status: 'False', message: 'no minimum availability' },
      { type: 'ReplicaFailure', status: 'True', message: 'exceeded quota' },
    ],
  };
  assert.match(
    waypointStatus(gateway, undefined, now, quota).conditions[1]?.message ?? '',
    /exceeded quota$/,
  );
});

test('a Gateway is programmed once its Service has an address', () => {
  const of = (name: string): { said: string[]; addresses: readonly object[]; listeners: number } => {
    const compiler = load(gatewayText + service().replace('name: api', `name: ${name}`));
    const gateway = find(compiler, 'Gateway') as GatewayObject;
    const { conditions, addresses, listeners } = waypointStatus(gateway, compiler.service('shop', 'wp'), now);
    return {
      said: conditions.map(({ type, status, reason }) => `${type} ${status} ${reason}`),
      addresses,
      listeners: listeners.length,
    };
  };
  assert.deepEqual(of('wp'), {
    said: ['Accepted True Accepted', 'Programmed True Programmed'],
    addresses: [{ type: 'IPAddress', value: '10.96.0.1' }],
    listeners: 1,
  });
  assert.deepEqual(of('api'), {
    said: ['Accepted True Accepted', 'Programmed False AddressNotAssigned'],
    addresses: [],
    listeners: 1,
  });
});

test('the conditions of a route with an invalid regular expression name the field, also if only one of its rules is invalid', () => {
  const of = (rules: string): readonly Condition[] => {
    const { closed } = parseManifests('x', routeText(rules));
    const [route] = closed;
    assert.ok(route && isRoute(route));
    const compiler = load(service(labelled) + gatewayText);
    return routeParents(route, compiler.route(route), compiler, now)[0]?.conditions ?? [];
  };
  const said = (conditions: readonly Condition[], type: string): string => {
    const { status, reason, message } = conditions.find((one) => one.type === type) ?? {};
    return `${status} ${reason} ${message}`;
  };
  const broken = "matches: [{ path: { type: RegularExpression, value: '/a(' } }]";
  assert.match(
    said(of(broken), 'Accepted'),
    /^False UnsupportedValue rules\[0\]\.matches\[0\]\.path\.value: .*500$/,
  );
  const some = of(`${broken} }, { matches: [{ path: { value: /b } }]`);
  assert.match(said(some, 'Accepted'), /^True Accepted/);
  assert.match(
    said(some, 'PartiallyInvalid'),
    /^True UnsupportedValue Dropped Rule: rules\[0\]\.matches\[0\]\.path\.value/,
  );
});
