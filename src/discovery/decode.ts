/** Decoders of what comes over discovery: a value or the errors, never a throw. */
import { errorText, type Decoded } from '../base/errors.js';
import { ipFromBytes, parseCidr, type Cidr } from '../model/address.js';
import { parseSpiffeId, parseTrustDomain, spiffeIdOf } from '../model/identity.js';
import type { NodePod, UncapturedPod, UncapturedReason } from '../model/node-pod.js';
import type {
  AuthorizationPolicy,
  HttpMatch,
  PolicyKey,
  PolicyMatch,
  PolicyPath,
  StringMatch,
} from '../model/policy.js';
import type {
  BackendTarget,
  PathChange,
  PathMatch,
  Route,
  RouteFilter,
  RouteKey,
  RouteRule,
  SessionPersistence,
  ValueMatch,
} from '../model/route.js';
import type { Service } from '../model/service.js';
import type {
  AppProtocol,
  PortMapping,
  ServiceKey,
  WaypointRef,
  Workload,
  WorkloadUid,
} from '../model/workload.js';
import { affinityExtension, affinityType, scopeExtension, scopeType } from './types.js';
import * as pbAuth from './gen/authorization.js';
import * as pb from './gen/workload.js';
import * as pbWeft from './gen/weft.js';

export type Address =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service };

function attempt<T>(decode: () => T): Decoded<T> {
  try {
    return { ok: true, value: decode() };
  } catch (error) {
    return { ok: false, errors: [errorText(error)] };
  }
}

function need(value: string, field: string): string {
  if (value === '') throw new Error(`${field} is empty`);
  return value;
}

const appProtocols: readonly AppProtocol[] = ['unknown', 'http1', 'http2', 'grpc', 'tcp', 'tls'];

function port(mapping: pb.Port): PortMapping {
  if (mapping.servicePort > 65535 || mapping.targetPort > 65535)
    throw new Error(`port ${mapping.servicePort} is out of range`);
  return {
    servicePort: mapping.servicePort,
    targetPort: mapping.targetPort,
    // A protocol of a later version is bytes to us.
    appProtocol: appProtocols[mapping.appProtocol] ?? 'unknown',
  };
}

function waypoint(address: pb.GatewayAddress | undefined): { waypoint: WaypointRef } | Record<string, never> {
  if (!address?.destination) return {};
  const hbonePort = address.hboneMtlsPort || 15008;
  if (address.destination.$case === 'hostname') {
    const { namespace, hostname } = address.destination.value;
    return {
      waypoint: {
        kind: 'hostname',
        service: `${need(namespace, 'waypoint namespace')}/${hostname}` as ServiceKey,
        hbonePort,
      },
    };
  }
  const { network, address: bytes } = address.destination.value;
  return { waypoint: { kind: 'address', network, ip: ipFromBytes(bytes), hbonePort } };
}

/** Throws where there is one that this version cannot read: for whom the addresses count is then not known. */
function scope(extensions: readonly pb.Extension[]): pbWeft.Scope | undefined {
  const found = extensions.find(({ name }) => name === scopeExtension);
  if (!found) return undefined;
  if (found.config?.typeUrl !== scopeType)
    throw new Error(`${scopeExtension} is of type ${found.config?.typeUrl}`);
  return pbWeft.Scope.decode(found.config.value);
}

const workloadTypes: readonly Workload['workloadType'][] = ['deployment', 'cronjob', 'pod', 'job'];

function workload(message: pb.Workload): Workload {
  const scoped = scope(message.extensions);
  const trustDomain = parseTrustDomain(message.trustDomain || 'cluster.local');
  const serviceAccount = message.serviceAccount || 'default';
  const namespace = need(message.namespace, 'namespace');
  return {
    uid: need(message.uid, 'uid') as WorkloadUid,
    name: message.name,
    namespace,
    identity: spiffeIdOf({ trustDomain, namespace, serviceAccount }),
    serviceAccount,
    addresses: (scoped?.namespaceOnly ? scoped : message).addresses.map((bytes) => ipFromBytes(bytes)),
    network: message.network,
    node: message.node,
    cluster: message.clusterId || 'Kubernetes',
    tunnel: message.tunnelProtocol === pb.TunnelProtocol.HBONE ? 'hbone' : 'none',
    ...waypoint(message.waypoint),
    policies: message.authorizationPolicies,
    healthy: message.status === pb.WorkloadStatus.HEALTHY,
    ...(message.nativeTunnel ? { nativeTunnel: true } : {}),
    hostNetwork: message.networkMode === pb.NetworkMode.HOST_NETWORK,
    services: new Map(
      Object.entries(message.services).map(([key, list]) => [key as ServiceKey, list.ports.map(port)]),
    ),
    workloadName: message.workloadName || message.name,
    workloadType: workloadTypes[message.workloadType] ?? 'pod',
    canonicalName: message.canonicalName,
    canonicalRevision: message.canonicalRevision,
    ...(message.locality ? { locality: message.locality } : {}),
    ...(scoped?.namespaceOnly ? { scope: 'namespace' as const } : {}),
  };
}

type Balancing = NonNullable<Service['loadBalancing']>;
const scopes: readonly (Balancing['preference'][number] | undefined)[] = [
  undefined,
  'region',
  'zone',
  'subzone',
  'node',
  'cluster',
  'network',
];
const modes: readonly Balancing['mode'][] = ['unspecified', 'strict', 'failover', 'passthrough'];

function affinity(extensions: readonly pb.Extension[]): Pick<Service, 'sessionAffinity'> {
  const config = extensions.find(({ name }) => name === affinityExtension)?.config;
  if (config?.typeUrl !== affinityType) return {};
  return pbWeft.SessionAffinity.decode(config.value).clientIp ? { sessionAffinity: 'client-ip' } : {};
}

function service(message: pb.Service): Service {
  const balancing = message.loadBalancing;
  const scoped = scope(message.extensions);
  return {
    key: `${need(message.namespace, 'namespace')}/${need(message.hostname, 'hostname')}` as ServiceKey,
    name: message.name,
    namespace: message.namespace,
    hostname: message.hostname,
    addresses: scoped?.namespaceOnly
      ? scoped.addresses.map((address) => ({ network: '', ip: ipFromBytes(address) }))
      : message.addresses.map(({ network, address }) => ({ network, ip: ipFromBytes(address) })),
    ports: message.ports.map(port),
    subjectAltNames: message.subjectAltNames.map((name) =>
      parseSpiffeId(name.startsWith('spiffe://') ? name : `spiffe://${name}`),
    ),
    ...waypoint(message.waypoint),
    ...affinity(message.extensions),
    ...(scoped?.namespaceOnly ? { scope: 'namespace' as const } : {}),
    ...(balancing
      ? {
          loadBalancing: {
            preference: balancing.routingPreference.flatMap((scope) => scopes[scope] ?? []),
            mode: modes[balancing.mode] ?? 'unspecified',
            allowUnhealthy: balancing.healthPolicy === pb.LoadBalancing_HealthPolicy.ALLOW_ALL,
          },
        }
      : {}),
  };
}

export function decodeAddress(bytes: Uint8Array): Decoded<Address> {
  return attempt(() => {
    const { type } = pb.Address.decode(bytes);
    if (!type) throw new Error('neither workload nor service');
    return type.$case === 'workload'
      ? { kind: 'workload', workload: workload(type.value) }
      : { kind: 'service', service: service(type.value) };
  });
}

function stringMatch(match: pbAuth.StringMatch): StringMatch {
  // A kind of a later version must not be skipped: a DENY would no longer deny.
  if (!match.matchType) throw new Error('string match of an unknown kind');
  if (match.matchType.$case === 'presence') return { kind: 'presence' };
  return { kind: match.matchType.$case, value: match.matchType.value };
}

function block({ address, length }: pbAuth.Address): Cidr {
  const ip = ipFromBytes(address);
  if (length > address.length * 8) throw new Error(`prefix length ${length} is out of range`);
  return { ip, prefixLength: length };
}

function layer4(m: pbAuth.Match): PolicyMatch {
  return {
    namespaces: m.namespaces.map(stringMatch),
    notNamespaces: m.notNamespaces.map(stringMatch),
    principals: m.principals.map(stringMatch),
    notPrincipals: m.notPrincipals.map(stringMatch),
    sourceIps: m.sourceIps.map(block),
    notSourceIps: m.notSourceIps.map(block),
    destinationIps: m.destinationIps.map(block),
    notDestinationIps: m.notDestinationIps.map(block),
    destinationPorts: m.destinationPorts,
    notDestinationPorts: m.notDestinationPorts,
    serviceAccounts: m.serviceAccounts,
    notServiceAccounts: m.notServiceAccounts,
  };
}

function path({ path: message }: pbAuth.PathMatch): PolicyPath {
  if (!message) throw new Error('path match of an unknown kind');
  if (message.$case !== 'template') return { kind: message.$case, value: message.value };
  const { segments } = message.value;
  if (segments.length === 0) throw new Error('path template without segments');
  if (segments.slice(0, -1).includes('**')) throw new Error('** is not the last segment of its template');
  return { kind: 'template', segments };
}

const http = (m: pbAuth.HttpMatch): HttpMatch => ({
  methods: m.methods,
  notMethods: m.notMethods,
  paths: m.paths.map(path),
  notPaths: m.notPaths.map(path),
  hosts: m.hosts.map(stringMatch),
  notHosts: m.notHosts.map(stringMatch),
  headers: m.headers.map(({ name, values, negated }) => ({
    name: need(name, 'header name'),
    values: values.map(stringMatch),
    negated,
  })),
});

/** What stands beside `weft` is for those who do not know it. */
function match(m: pbAuth.Match): PolicyMatch {
  if (!m.weft) return layer4(m);
  if (!m.weft.match || m.weft.match.weft) throw new Error("weft's match is none");
  return { ...layer4(m.weft.match), ...(m.weft.http ? { http: http(m.weft.http) } : {}) };
}

const policyScopes: readonly AuthorizationPolicy['scope'][] = ['global', 'namespace', 'workload'];
const policyActions: readonly AuthorizationPolicy['action'][] = ['allow', 'deny'];

export function decodeAuthorization(bytes: Uint8Array): Decoded<AuthorizationPolicy> {
  return attempt(() => {
    const message = pbAuth.Authorization.decode(bytes);
    const scope = policyScopes[message.scope];
    const action = policyActions[message.action];
    if (!scope || !action) throw new Error('scope or action of an unknown kind');
    return {
      key: `${message.namespace}/${need(message.name, 'name')}` as PolicyKey,
      name: message.name,
      namespace: message.namespace,
      scope,
      action,
      rules: message.rules.map(({ clauses }) => ({
        clauses: clauses.map(({ matches }) => ({ matches: matches.map(match) })),
      })),
      services: message.weftServices,
      dryRun: message.dryRun,
    };
  });
}

export function decodeNodePod(bytes: Uint8Array): Decoded<NodePod> {
  return attempt(() => {
    const m = pbWeft.NodePod.decode(bytes);
    return {
      uid: need(m.uid, 'uid') as WorkloadUid,
      name: need(m.name, 'name'),
      namespace: need(m.namespace, 'namespace'),
      identity: parseSpiffeId(m.identity),
      addresses: m.addresses.map((address) => ipFromBytes(address)),
      netns: m.netns,
      podUid: m.podUid,
      probePorts: m.probePorts,
      excludeOutboundPorts: m.excludeOutboundPorts,
      excludeOutboundCidrs: m.excludeOutboundCidrs.map(parseCidr),
      excludeInboundPorts: m.excludeInboundPorts,
      outboundUnknown: m.outboundUnknownRefused ? 'refuse' : 'allow',
      agentDown: m.plaintextWithoutAgent ? 'plaintext' : 'refuse',
      cutPreexisting: m.cutPreexisting,
      rootsVersion: m.rootsVersion,
      sameNode: m.sameNodeEncrypted ? 'encrypted' : 'kernel',
      unsplicedPorts: m.unsplicedPorts,
      splice: m.splice,
    };
  });
}

export function decodeUncapturedPod(bytes: Uint8Array): Decoded<UncapturedPod> {
  return attempt(() => {
    const m = pbWeft.UncapturedPod.decode(bytes);
    return {
      uid: need(m.uid, 'uid') as WorkloadUid,
      name: need(m.name, 'name'),
      namespace: need(m.namespace, 'namespace'),
      podUid: m.podUid,
      // A reason that a newer control plane gives is shown as it is.
      reason: need(m.reason, 'reason') as UncapturedReason,
    };
  });
}

export function decodeTrust(bytes: Uint8Array): Decoded<string> {
  return attempt(() => need(pbWeft.Trust.decode(bytes).version, 'version'));
}

export function decodeEnrolledNamespace(bytes: Uint8Array): Decoded<string> {
  return attempt(() => need(pbWeft.EnrolledNamespace.decode(bytes).name, 'name'));
}

/** A kind of a later version is never passed over: the route would do something else than it says. */
function oneOf<T extends string>(kinds: readonly T[], kind: string, field: string): T {
  const found = kinds.find((one) => one === kind);
  if (found === undefined) throw new Error(`${field} of unknown kind ${JSON.stringify(kind.slice(0, 64))}`);
  return found;
}
const routeKinds = { http: 'HTTPRoute', grpc: 'GRPCRoute', tls: 'TLSRoute', tcp: 'TCPRoute' } as const;
const pathKinds: readonly PathMatch['kind'][] = ['exact', 'prefix', 'regex', 'suffix'];
const valueKinds: readonly ValueMatch['kind'][] = ['exact', 'regex'];
const changeKinds: readonly PathChange['kind'][] = ['full', 'prefix'];
const sessionKinds: readonly SessionPersistence['kind'][] = ['cookie', 'header'];

function portNumber(value: number): number {
  if (value < 1 || value > 65535) throw new Error(`port ${value} is out of range`);
  return value;
}

const valueMatch = ({ kind, name, value }: pbWeft.ValueMatch): ValueMatch => ({
  kind: oneOf(valueKinds, kind, 'value match'),
  name: need(name, 'name of a value match'),
  value,
});

function target(message: pbWeft.BackendTarget | undefined): BackendTarget {
  if (!message) throw new Error('backend without target');
  if (message.invalid !== '') return { kind: 'invalid', reason: message.invalid };
  return {
    kind: 'service',
    service: need(message.service, 'service of a backend') as ServiceKey,
    port: portNumber(message.port),
  };
}

const change = (message: pbWeft.PathChange | undefined): { path?: PathChange } =>
  message ? { path: { kind: oneOf(changeKinds, message.kind, 'path change'), value: message.value } } : {};

function filter({ filter: message }: pbWeft.RouteFilter): RouteFilter {
  switch (message?.$case) {
    case undefined:
      throw new Error('filter of unknown kind');
    case 'requestHeaders':
      return { kind: 'request-headers', ...message.value };
    case 'responseHeaders':
      return { kind: 'response-headers', ...message.value };
    case 'redirect': {
      const { scheme, hostname, port: to, statusCode } = message.value;
      if (statusCode < 300 || statusCode > 399) throw new Error(`redirect with status ${statusCode}`);
      return {
        kind: 'redirect',
        ...(scheme === '' ? {} : { scheme }),
        ...(hostname === '' ? {} : { hostname }),
        ...(to === 0 ? {} : { port: portNumber(to) }),
        ...change(message.value.path),
        statusCode,
      };
    }
    case 'rewrite': {
      const { hostname } = message.value;
      return { kind: 'rewrite', ...(hostname === '' ? {} : { hostname }), ...change(message.value.path) };
    }
    case 'mirror': {
      const { backend, numerator, denominator } = message.value;
      if (denominator === 0) throw new Error('mirror of a fraction without denominator');
      return { kind: 'mirror', backend: target(backend), numerator, denominator };
    }
    case 'cors':
      return { kind: 'cors', ...message.value };
  }
}

function session(message: pbWeft.SessionPersistence): SessionPersistence {
  const { absoluteTimeoutMs, idleTimeoutMs, permanent } = message;
  return {
    kind: oneOf(sessionKinds, message.kind, 'session persistence'),
    name: need(message.name, 'name of a session'),
    ...(absoluteTimeoutMs === 0 ? {} : { absoluteTimeoutMs }),
    ...(idleTimeoutMs === 0 ? {} : { idleTimeoutMs }),
    permanent,
  };
}

function rule(message: pbWeft.RouteRule): RouteRule {
  const { name, requestTimeoutMs, backendRequestTimeoutMs, retry, sessionPersistence } = message;
  return {
    ...(name === '' ? {} : { name }),
    matches: message.matches.map(({ pathKind, path: value, method, headers, query }) => ({
      ...(pathKind === '' ? {} : { path: { kind: oneOf(pathKinds, pathKind, 'path match'), value } }),
      ...(method === '' ? {} : { method }),
      headers: headers.map(valueMatch),
      query: query.map(valueMatch),
    })),
    filters: message.filters.map(filter),
    backends: message.backends.map((one) => ({
      target: target(one.target),
      weight: one.weight,
      filters: one.filters.map(filter),
    })),
    ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs }),
    ...(backendRequestTimeoutMs === undefined ? {} : { backendRequestTimeoutMs }),
    ...(retry
      ? {
          retry: {
            codes: retry.codes,
            ...(retry.attempts === undefined ? {} : { attempts: retry.attempts }),
            ...(retry.backoffMs === undefined ? {} : { backoffMs: retry.backoffMs }),
          },
        }
      : {}),
    ...(sessionPersistence ? { sessionPersistence: session(sessionPersistence) } : {}),
  };
}

export function decodeRoute(bytes: Uint8Array): Decoded<Route> {
  return attempt(() => {
    const m = pbWeft.Route.decode(bytes);
    const kind = oneOf(Object.keys(routeKinds) as (keyof typeof routeKinds)[], m.kind, 'route');
    const namespace = need(m.namespace, 'namespace');
    const name = need(m.name, 'name');
    return {
      key: `${routeKinds[kind]}/${namespace}/${name}` as RouteKey,
      kind,
      namespace,
      name,
      createdMs: m.createdMs,
      parents: m.parents.map(({ service: parent, port: at }) => ({
        service: need(parent, 'service of a parent') as ServiceKey,
        ...(at === 0 ? {} : { port: portNumber(at) }),
      })),
      rules: m.rules.map(rule),
    };
  });
}
