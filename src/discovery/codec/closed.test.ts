import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LoadBalancing } from '../gen/weft.js';
import { filter } from '../../../test/support/filters.js';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { parseIp } from '../../model/address.js';
import { parseSpiffeId } from '../../model/identity.js';
import {
  emptyMatch,
  type AuthorizationPolicy,
  type PolicyKey,
  type PolicyMatch,
} from '../../model/policy.js';
import type { Route, RouteKey } from '../../model/route.js';
import type { ServiceKey } from '../../model/workload.js';
import { authorize, type ConnectionAttributes } from '../../policy/authorize.js';
import { MeshState } from '../../state/store.js';
import { closedWaypoint, readAddress } from '../codec/address.js';
import { decodeNodePod } from '../codec/node-pod.js';
import { readAuthorization, encodeAuthorization } from '../codec/policy.js';
import { readRoute, encodeRoute } from '../codec/route.js';
import { encodeServicePolicy, readServicePolicy } from '../codec/service-policy.js';
import { ignorableFrom, unknownFields, type Shape } from '../codec/unknown-fields.js';
import { features } from '../capabilities.js';
import { servicePolicyShape } from '../gen/shapes.js';
import type { Mutable } from '../../../test/support/mutable.js';
import * as pbAuth from '../gen/authorization.js';
import * as pb from '../gen/workload.js';
import * as pbWeft from '../gen/weft.js';

const attributes = (account: string, port = 80): ConnectionAttributes => ({
  identity: parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${account}`),
  sourceIp: parseIp('10.0.0.1'),
  destinationIp: parseIp('10.0.0.2'),
  destinationPort: port,
});
const policy = (action: 'allow' | 'deny', ...matches: PolicyMatch[]): AuthorizationPolicy => ({
  key: 'shop/p' as PolicyKey,
  name: 'p',
  namespace: 'shop',
  scope: 'namespace',
  services: [],
  action,
  dryRun: false,
  rules: matches.map((match) => ({ clauses: [{ matches: [match] }] })),
});
const web = { ...emptyMatch, serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }] };
const db = { ...emptyMatch, serviceAccounts: [{ namespace: 'shop', serviceAccount: 'db' }] };

/** Appends an unknown field to a message (protobuf fields may come in any order). */
const withField = (bytes: Uint8Array, field: number): Uint8Array =>
  Buffer.concat([
    bytes,
    new BinaryWriter()
      .uint32(field << 3)
      .uint32(1)
      .finish(),
  ]);
/** The messages of `of` on the path of fields; the first of each repeated field. */
function inside(
  bytes: Uint8Array,
  path: readonly number[],
  change: (bytes: Uint8Array) => Uint8Array,
): Uint8Array {
  const [field, ...rest] = path;
  if (field === undefined) return change(bytes);
  // These paths contain only length-delimited fields.
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const start = at;
    const tag = varint();
    if ((tag & 7) === 0) {
      varint();
      continue;
    }
    assert.equal(tag & 7, 2);
    const length = varint();
    const from = at;
    at += length;
    if (tag >> 3 !== field) continue;
    const changed = inside(bytes.subarray(from, at), rest, change);
    const writer = new BinaryWriter().uint32(tag).bytes(changed).finish();
    return Buffer.concat([bytes.subarray(0, start), writer, bytes.subarray(at)]);
  }
  return assert.fail(`no field ${field}`);
}
const read = (
  bytes: Uint8Array,
  name = 'shop/p',
): { value: AuthorizationPolicy; problems: readonly string[] } => {
  const { value, problems } = readAuthorization(name, bytes, 'weft-system');
  assert.ok(value);
  return { value, problems };
};
const allowed = (value: AuthorizationPolicy, account: string): boolean =>
  authorize([value], attributes(account)).allowed;

const random: LoadBalancing = { kind: { $case: 'random', value: {} }, slowStart: undefined };

test('ALLOW: a match with a restriction of a newer version allows nothing; the other matches allow', () => {
  for (const path of [[5, 1, 2], [5, 1, 2, 11], [5, 1], [5]]) {
    const bytes = inside(encodeAuthorization(policy('allow', web, db)), path, (part) => withField(part, 77));
    const { value, problems } = read(bytes);
    assert.equal(allowed(value, 'web'), false, path.join());
    assert.equal(allowed(value, 'db'), true);
    assert.match(problems.join(), /field 5\.0.*77 is not known/);
    assert.equal(value.scope, 'namespace');
  }
});

test('DENY: a match with unknown parts denies at least as much', () => {
  // An unknown restriction: the rest of the match covers more.
  const restricted = inside(encodeAuthorization(policy('deny', web)), [5, 1, 2], (part) =>
    withField(part, 77),
  );
  assert.equal(allowed(read(restricted).value, 'web'), false);
  assert.equal(allowed(read(restricted).value, 'db'), true);
  // An unknown alternative beside the known fields.
  for (const path of [[5, 1], [5]]) {
    const bytes = inside(encodeAuthorization(policy('deny', web)), path, (part) => withField(part, 77));
    assert.equal(allowed(read(bytes).value, 'db'), false, path.join());
  }
  // A match with only unknown fields is not ignored.
  const alone = inside(encodeAuthorization(policy('deny', emptyMatch)), [5, 1, 2], (part) =>
    withField(part, 77),
  );
  assert.equal(allowed(read(alone).value, 'db'), false);
});

test('a string or path match of an unknown kind denies everything in a DENY policy and allows nothing in an ALLOW policy', () => {
  const strange: pbAuth.Match = { ...pbAuth.Match.create(), principals: [{ matchType: undefined }] };
  const strangePath: pbAuth.Match = {
    ...pbAuth.Match.create(),
    weft: {
      match: pbAuth.Match.create(),
      http: { ...pbAuth.HttpMatch.create(), paths: [{ path: undefined }] },
      tls: undefined,
    },
  };
  for (const one of [strange, strangePath])
    for (const action of [pbAuth.Action.ALLOW, pbAuth.Action.DENY]) {
      const bytes = pbAuth.Authorization.encode({
        ...pbAuth.Authorization.create(),
        ...{ name: 'p', namespace: 'shop', scope: pbAuth.Scope.NAMESPACE, action },
        rules: [{ clauses: [{ matches: [one] }] }],
      }).finish();
      assert.equal(allowed(read(bytes).value, 'web'), false);
      assert.equal(
        authorize([read(bytes).value], { ...attributes('x'), identity: undefined }).allowed,
        false,
      );
    }
});

test('a policy with an unknown action or an unknown field of its own denies everything in its scope', () => {
  const message = pbAuth.Authorization.decode(encodeAuthorization(policy('allow', web)));
  const action = pbAuth.Authorization.encode({ ...message, action: 7 as pbAuth.Action }).finish();
  for (const bytes of [action, withField(encodeAuthorization(policy('allow', web)), 99)]) {
    const { value } = read(bytes);
    assert.equal(allowed(value, 'web'), false);
    assert.deepEqual([value.scope, value.namespace, value.action], ['namespace', 'shop', 'deny']);
  }
});

test('an unknown scope becomes the namespace, and the mesh for the root namespace', () => {
  const message = pbAuth.Authorization.decode(encodeAuthorization(policy('deny', web)));
  const of = (namespace: string): AuthorizationPolicy =>
    read(
      pbAuth.Authorization.encode({ ...message, namespace, scope: 9 as pbAuth.Scope }).finish(),
      `${namespace}/p`,
    ).value;
  assert.equal(of('shop').scope, 'namespace');
  assert.equal(of('weft-system').scope, 'global');
});

test('an unreadable policy denies in the namespace of its resource name and is removed by that name', () => {
  const { value, problems } = read(Buffer.from([0xff, 0xff, 0xff]), 'shop/p');
  assert.ok(problems.length > 0);
  const state = new MeshState();
  state.apply({ policies: [value] });
  const of = (namespace: string): readonly AuthorizationPolicy[] =>
    state.policiesFor({ namespace, policies: [] });
  assert.equal(authorize(of('shop'), attributes('web')).allowed, false);
  assert.equal(authorize(of('bank'), attributes('web')).allowed, true);
  state.apply({ removedPolicies: ['shop/p'] });
  assert.equal(of('shop').length, 0);
  assert.equal(readAuthorization('', Buffer.from([0xff]), 'weft-system').value, undefined);
});

test('unknown fields with numbers for information only are ignored', () => {
  const bytes = withField(encodeAuthorization(policy('allow', web)), ignorableFrom);
  assert.deepEqual(read(bytes), { value: policy('allow', web), problems: [] });
  const shape: Shape = { name: 'Some', fields: { 5: ['rules'] } };
  assert.deepEqual(
    unknownFields(withField(bytes, ignorableFrom - 1), shape)
      .map(({ path }) => path)
      .sort(),
    ['1', '1999', '2', '3'],
  );
});

const api = 'shop/api.shop.svc.cluster.local' as ServiceKey;
const route: Route = {
  key: 'HTTPRoute/shop/api' as RouteKey,
  kind: 'http',
  namespace: 'shop',
  name: 'api',
  createdMs: 1,
  parents: [{ service: api, port: 80 }],
  rules: [
    {
      matches: [{ path: { kind: 'prefix', value: '/v1' }, method: 'GET', headers: [], query: [] }],
      filters: [filter('rewrite', { hostname: 'x' })],
      backends: [{ target: { kind: 'service', service: api, port: 80 }, weight: 1, filters: [] }],
    },
    {
      matches: [{ path: { kind: 'prefix', value: '/v2' }, headers: [], query: [] }],
      filters: [],
      backends: [{ target: { kind: 'service', service: api, port: 80 }, weight: 1, filters: [] }],
    },
  ],
};
const isClosed = (one: Route['rules'][number] | undefined): boolean =>
  one?.backends.length === 1 && one.backends[0]?.target.kind === 'invalid' && one.filters.length === 0;

test('an unknown filter, match or field closes only its rule, which responds 500 to requests that it may match', () => {
  const change = (edit: (rule: Mutable<pbWeft.RouteRule>) => void): Uint8Array => {
    const message = pbWeft.Route.decode(encodeRoute(route)) as Mutable<pbWeft.Route>;
    assert.ok(message.rules[0]);
    edit(message.rules[0]);
    return pbWeft.Route.encode(message).finish();
  };
  const v1 = { path: { kind: 'prefix', value: '/v1' } };
  const cases: readonly (readonly [Uint8Array, object, RegExp])[] = [
    [change((rule) => (rule.filters = [{ filter: undefined }])), v1, /filter of unknown kind/],
    [inside(encodeRoute(route), [6, 3], (part) => withField(part, 50)), v1, /RouteFilter\.50/],
    [inside(encodeRoute(route), [6], (part) => withField(part, 50)), v1, /RouteRule\.50/],
    [
      change((rule) => Object.assign(rule.matches[0] ?? {}, { pathKind: 'glob' })),
      { unreadable: true },
      /path match of unknown kind "glob"/,
    ],
    [
      inside(encodeRoute(route), [6, 2], (part) => withField(part, 50)),
      { ...v1, unreadable: true },
      /RouteMatch\.50/,
    ],
  ];
  for (const [bytes, path, why] of cases) {
    const { value, problems } = readRoute('HTTPRoute/shop/api', bytes);
    assert.ok(isClosed(value?.rules[0]), problems.join());
    const target = value?.rules[0]?.backends[0]?.target;
    assert.match(target?.kind === 'invalid' ? target.reason : '', why);
    assert.deepEqual(value?.rules[0]?.matches, [{ ...path, method: 'GET', headers: [], query: [] }]);
    assert.deepEqual(value?.rules[1], route.rules[1]);
    assert.equal(value?.key, route.key);
    assert.ok(problems.length > 0);
  }
});

test('a route of an unknown kind closes its parents until it is removed by name', () => {
  const message = pbWeft.Route.decode(encodeRoute(route));
  const bytes = pbWeft.Route.encode({ ...message, kind: 'quic' }).finish();
  const { value } = readRoute('QUICRoute/shop/api', bytes);
  assert.deepEqual(value?.parents, route.parents);
  assert.equal(value?.key, 'QUICRoute/shop/api');
  assert.equal(value?.rules.length, 1);
  assert.ok(isClosed(value?.rules[0]));
  const whole = readRoute('HTTPRoute/shop/api', withField(encodeRoute(route), 90));
  assert.ok(whole.value?.rules.every(isClosed), 'a field of the route itself');
});

test('an unknown setting of a Service port closes the port; unknown balancing and information do not', () => {
  const bytes = encodeServicePolicy({ service: api, port: 80, origins: [], loadBalancing: random });
  const name = `${api}:80`;
  const unknown = readServicePolicy(name, withField(bytes, 50));
  assert.deepEqual(unknown.problems, ['ServicePolicy: field 50 is not known']);
  assert.equal(unknown.value?.closed, 'ServicePolicy: field 50 is not known');
  assert.deepEqual(unknown.value.loadBalancing, random);
  const balancing = inside(bytes, [2003], () => withField(Buffer.alloc(0), ignorableFrom + 99));
  const { value, problems } = readServicePolicy(name, balancing);
  assert.deepEqual([value, problems], [{ service: api, port: 80, origins: [] }, []]);
  assert.equal(readServicePolicy(name, withField(bytes, ignorableFrom + 99)).value?.closed, undefined);
  // What cannot be read at all closes the port that the resource name states.
  const torn = readServicePolicy(name, bytes.subarray(0, 5));
  assert.deepEqual([torn.value?.service, torn.value?.port], [api, 80]);
  assert.ok(torn.value?.closed);
  for (const other of ['', 'x', `${api}:0`, `${api}:70000`, ':80'])
    assert.equal(readServicePolicy(other, bytes.subarray(0, 5)).value, undefined);
});

test('a Service port is closed by a filter of tokens with parts that this version does not know', () => {
  const jwt = filter('jwt', {
    name: 'p',
    issuers: [
      pbWeft.JwtIssuer.fromPartial({
        issuer: 'i',
        locations: [{ place: { $case: 'cookie', value: 'c' } }],
        claimHeaders: [{ header: 'x-user', claim: ['sub'] }],
      }),
    ],
    required: true,
  });
  const bytes = encodeServicePolicy({ service: api, port: 80, origins: [], filters: [jwt] });
  const name = `${api}:80`;
  const { value, problems } = readServicePolicy(name, bytes);
  assert.deepEqual([value?.filters, value?.closed, problems], [[jwt], undefined, []]);
  const filters = 7;
  const [ofJwt, issuers, locations] = [30, 2, 5];
  for (const path of [
    [filters],
    [filters, ofJwt],
    [filters, ofJwt, issuers],
    [filters, ofJwt, issuers, locations],
  ]) {
    const unknown = readServicePolicy(
      name,
      inside(bytes, path, (part) => withField(part, 77)),
    );
    assert.match(unknown.value?.closed ?? '', /77 is not known/, path.join());
  }
  // A version before tokens, for which the filter's own field is unknown.
  const older = readServicePolicy(
    name,
    inside(bytes, [filters], () => withField(Buffer.alloc(0), 99)),
  );
  assert.match(older.value?.closed ?? '', /RouteFilter: field .*99 is not known/);
});

test('ALLOW by a claim of an unknown kind allows nothing, and DENY denies', () => {
  for (const action of [pbAuth.Action.ALLOW, pbAuth.Action.DENY])
    for (const claim of [
      { path: ['sub'], values: [{ value: undefined }], negated: false },
      { path: [], values: [], negated: true },
    ]) {
      const http = { ...pbAuth.HttpMatch.create(), claims: [claim] };
      const match = {
        ...pbAuth.Match.create(),
        weft: { match: pbAuth.Match.create(), http, tls: undefined },
      };
      const { value } = read(
        pbAuth.Authorization.encode({
          ...pbAuth.Authorization.create(),
          ...{ name: 'p', namespace: 'shop', scope: pbAuth.Scope.NAMESPACE, action },
          rules: [{ clauses: [{ matches: [match] }] }],
        }).finish(),
      );
      const request = {
        method: 'GET',
        host: 'a',
        paths: ['/'],
        header: () => undefined,
        claims: { sub: 'a' },
      };
      assert.equal(authorize([value], { ...attributes('web'), http: request }).allowed, false);
    }
});

const podIp = Buffer.from([10, 0, 0, 2]);
const workload = (more: Partial<pb.Workload>): Uint8Array =>
  pb.Address.encode({
    type: {
      $case: 'workload',
      value: pb.Workload.fromPartial({
        uid: 'Kubernetes//Pod/shop/api',
        name: 'api',
        namespace: 'shop',
        addresses: [podIp],
        tunnelProtocol: pb.TunnelProtocol.HBONE,
        ...more,
      }),
    },
  }).finish();

test('a workload with a waypoint, tunnel or address of an unknown kind is unreachable, never reached in plaintext', () => {
  const strange: Partial<pb.Workload>[] = [
    { waypoint: { destination: undefined, hboneMtlsPort: 15008 } },
    { tunnelProtocol: 9 as pb.TunnelProtocol },
    { networkMode: 9 as pb.NetworkMode },
    { addresses: [podIp, Buffer.from([1])] },
    { trustDomain: 'NOT A DOMAIN' },
  ];
  for (const more of strange) {
    const { value, problems } = readAddress('Kubernetes//Pod/shop/api', workload(more));
    assert.ok(value?.kind === 'workload' && problems.length > 0, JSON.stringify(more));
    assert.deepEqual(value.workload.waypoint, closedWaypoint);
    assert.deepEqual(value.workload.addresses, ['10.0.0.2']);
    assert.equal(value.workload.tunnel, 'hbone');
    assert.equal(value.workload.healthy, false);
  }
  // Its addresses are the node's.
  const host = workload({ networkMode: pb.NetworkMode.HOST_NETWORK, tunnelProtocol: 9 as pb.TunnelProtocol });
  assert.equal(readAddress('x', host).value, undefined);
});

test('a Service that cannot be decoded is unreachable', () => {
  const bytes = pb.Address.encode({
    type: {
      $case: 'service',
      value: pb.Service.fromPartial({
        namespace: 'shop',
        hostname: 'api.shop.svc.cluster.local',
        addresses: [{ network: '', address: podIp }],
        ports: [{ servicePort: 80, targetPort: 8080 }],
        waypoint: { destination: undefined, hboneMtlsPort: 15008 },
      }),
    },
  }).finish();
  const { value } = readAddress('shop/api.shop.svc.cluster.local', bytes);
  assert.ok(value?.kind === 'service');
  assert.deepEqual(value.service.waypoint, closedWaypoint);
  assert.equal(value.service.addresses.length, 1);
});

test('a pod with an unknown restriction is rejected: the pod keeps its previous version', () => {
  const pod = pbWeft.NodePod.encode({
    ...pbWeft.NodePod.create(),
    ...{ uid: 'u', name: 'n', namespace: 's', identity: 'spiffe://cluster.local/ns/s/sa/a' },
  }).finish();
  assert.ok(decodeNodePod(pod).ok);
  assert.equal(decodeNodePod(withField(pod, 40)).ok, false);
  assert.ok(decodeNodePod(withField(pod, ignorableFrom)).ok);
});

test('a client certificate closes the port of a waypoint that does not know it, and of one whose name is no name of a Secret', () => {
  const policyWith = (clientCertificate: string): Uint8Array =>
    encodeServicePolicy({
      service: 'shop/bank.example' as ServiceKey,
      port: 80,
      origins: [],
      endpointTls: {
        hostname: 'bank.example',
        caCertificates: '',
        dnsNames: [],
        uris: [],
        clientCertificate,
      },
    });
  const { value, problems } = readServicePolicy('', policyWith('bank'));
  assert.deepEqual([value?.endpointTls?.clientCertificate, value?.closed, problems], ['bank', undefined, []]);
  const older = new Set([...features].filter((feature) => feature !== 'EndpointTls.client_certificate'));
  assert.deepEqual(
    unknownFields(policyWith('bank'), servicePolicyShape, older).map(({ feature }) => feature),
    ['EndpointTls.client_certificate'],
  );
  for (const name of ['', '..', '../bank', 'a/b', '/etc', 'A', 'a\0b', 'a'.repeat(254)])
    assert.match(readServicePolicy('', policyWith(name)).value?.closed ?? '', /not a name of a Secret/, name);
});
