/** The inverse of decode.ts, for the control plane. */
import { ipToBytes, type Cidr } from '../model/address.js';
import { workloadIdentityOf } from '../model/identity.js';
import type { NodePod, UncapturedPod } from '../model/node-pod.js';
import type {
  AuthorizationPolicy,
  HttpMatch,
  PolicyMatch,
  PolicyPath,
  StringMatch,
} from '../model/policy.js';
import type { BackendTarget, PathChange, Route, RouteFilter, RouteRule } from '../model/route.js';
import type { Service } from '../model/service.js';
import type { PortMapping, WaypointRef, Workload } from '../model/workload.js';
import { affinityExtension, affinityType, scopeExtension, scopeType } from './types.js';
import * as pbAuth from './gen/authorization.js';
import * as pb from './gen/workload.js';
import * as pbWeft from './gen/weft.js';

const bytesOf = (ip: Parameters<typeof ipToBytes>[0]): Buffer => Buffer.from(ipToBytes(ip));
const appProtocols = { unknown: 0, http1: 1, http2: 2, grpc: 3, tcp: 4, tls: 5 } as const;
const port = (p: PortMapping): pb.Port => ({
  servicePort: p.servicePort,
  targetPort: p.targetPort,
  appProtocol: appProtocols[p.appProtocol],
});

function waypoint(reference: WaypointRef | undefined): pb.GatewayAddress | undefined {
  if (!reference) return undefined;
  if (reference.kind === 'address') {
    const value = { network: reference.network, address: bytesOf(reference.ip), length: undefined };
    return { destination: { $case: 'address', value }, hboneMtlsPort: reference.hbonePort };
  }
  const at = reference.service.indexOf('/');
  const value = { namespace: reference.service.slice(0, at), hostname: reference.service.slice(at + 1) };
  return { destination: { $case: 'hostname', value }, hboneMtlsPort: reference.hbonePort };
}

const extension = (name: string, typeUrl: string, value: Uint8Array): pb.Extension => ({
  name,
  config: { typeUrl, value: Buffer.from(value) },
});
const scopeOf = (addresses: Workload['addresses']): pb.Extension =>
  extension(
    scopeExtension,
    scopeType,
    pbWeft.Scope.encode({
      namespaceOnly: true,
      addresses: addresses.map(bytesOf),
    }).finish(),
  );

export function encodeWorkload(w: Workload): Uint8Array {
  const value = pb.Workload.fromPartial({
    uid: w.uid,
    name: w.name,
    namespace: w.namespace,
    // As for a Service of that scope.
    addresses: w.scope === 'namespace' ? [] : w.addresses.map(bytesOf),
    network: w.network,
    tunnelProtocol: w.tunnel === 'hbone' ? pb.TunnelProtocol.HBONE : pb.TunnelProtocol.NONE,
    trustDomain: workloadIdentityOf(w.identity)?.trustDomain ?? '',
    serviceAccount: w.serviceAccount,
    node: w.node,
    canonicalName: w.canonicalName,
    canonicalRevision: w.canonicalRevision,
    workloadType: { deployment: 0, cronjob: 1, pod: 2, job: 3 }[w.workloadType],
    workloadName: w.workloadName,
    authorizationPolicies: [...w.policies],
    status: w.healthy ? pb.WorkloadStatus.HEALTHY : pb.WorkloadStatus.UNHEALTHY,
    clusterId: w.cluster,
    services: Object.fromEntries([...w.services].map(([key, ports]) => [key, { ports: ports.map(port) }])),
    nativeTunnel: w.nativeTunnel ?? false,
    networkMode: w.hostNetwork ? pb.NetworkMode.HOST_NETWORK : pb.NetworkMode.STANDARD,
  });
  value.waypoint = waypoint(w.waypoint);
  value.locality = w.locality;
  if (w.scope === 'namespace') value.extensions.push(scopeOf(w.addresses));
  return pb.Address.encode({ type: { $case: 'workload', value } }).finish();
}

export function encodeService(s: Service): Uint8Array {
  const value = pb.Service.fromPartial({
    name: s.name,
    namespace: s.namespace,
    hostname: s.hostname,
    // Who does not know scopes would send everybody's connections there.
    addresses:
      s.scope === 'namespace'
        ? []
        : s.addresses.map(({ network, ip }) => ({ network, address: bytesOf(ip) })),
    ports: s.ports.map(port),
    subjectAltNames: [...s.subjectAltNames],
    canonical: true,
  });
  value.waypoint = waypoint(s.waypoint);
  if (s.loadBalancing) {
    value.loadBalancing = {
      routingPreference: s.loadBalancing.preference.map(
        (p) => ({ region: 1, zone: 2, subzone: 3, node: 4, cluster: 5, network: 6 })[p],
      ),
      mode: { unspecified: 0, strict: 1, failover: 2, passthrough: 3 }[s.loadBalancing.mode],
      healthPolicy: s.loadBalancing.allowUnhealthy ? 1 : 0,
    };
  }
  if (s.sessionAffinity) {
    const config = pbWeft.SessionAffinity.encode({ clientIp: true }).finish();
    value.extensions.push(extension(affinityExtension, affinityType, config));
  }
  if (s.scope === 'namespace') value.extensions.push(scopeOf(s.addresses.map(({ ip }) => ip)));
  return pb.Address.encode({ type: { $case: 'service', value } }).finish();
}

const text = (m: StringMatch): pbAuth.StringMatch => ({
  matchType: m.kind === 'presence' ? { $case: 'presence', value: {} } : { $case: m.kind, value: m.value },
});
const block = (c: Cidr): pbAuth.Address => ({ address: bytesOf(c.ip), length: c.prefixLength });

const layer4 = (m: PolicyMatch): pbAuth.Match => ({
  namespaces: m.namespaces.map(text),
  notNamespaces: m.notNamespaces.map(text),
  principals: m.principals.map(text),
  notPrincipals: m.notPrincipals.map(text),
  sourceIps: m.sourceIps.map(block),
  notSourceIps: m.notSourceIps.map(block),
  destinationIps: m.destinationIps.map(block),
  notDestinationIps: m.notDestinationIps.map(block),
  destinationPorts: [...m.destinationPorts],
  notDestinationPorts: [...m.notDestinationPorts],
  serviceAccounts: [...m.serviceAccounts],
  notServiceAccounts: [...m.notServiceAccounts],
  weft: undefined,
});

const path = (p: PolicyPath): pbAuth.PathMatch => ({
  path:
    p.kind === 'template'
      ? { $case: 'template', value: { segments: [...p.segments] } }
      : { $case: p.kind, value: p.value },
});
const http = (m: HttpMatch): pbAuth.HttpMatch => ({
  methods: [...m.methods],
  notMethods: [...m.notMethods],
  paths: m.paths.map(path),
  notPaths: m.notPaths.map(path),
  hosts: m.hosts.map(text),
  notHosts: m.notHosts.map(text),
  headers: m.headers.map(({ name, values, negated }) => ({ name, values: values.map(text), negated })),
});

const any: StringMatch = { kind: 'presence' };

/**
 * A reader that does not know `weft` sees the layer 4 fields alone: they must allow nothing that the match would not allow, and
 * deny all that it could deny.
 */
function match(m: PolicyMatch, action: AuthorizationPolicy['action']): pbAuth.Match {
  const real = layer4(m);
  if (!m.http) return real;
  const weft = { match: real, http: http(m.http) };
  if (action === 'allow') {
    const never = { ...pbAuth.Match.create(), principals: [text(any)], notPrincipals: [text(any)] };
    return { ...never, weft };
  }
  const isEmpty = Object.values(real).every((values) => values === undefined || values.length === 0);
  // An empty match is passed over by other readers; no connection goes to port 0.
  return { ...real, ...(isEmpty ? { notDestinationPorts: [0] } : {}), weft };
}

export function encodeAuthorization(p: AuthorizationPolicy): Uint8Array {
  return pbAuth.Authorization.encode({
    name: p.name,
    namespace: p.namespace,
    scope: { global: 0, namespace: 1, workload: 2 }[p.scope],
    action: { allow: 0, deny: 1 }[p.action],
    rules: p.rules.map(({ clauses }) => ({
      clauses: clauses.map(({ matches }) => ({ matches: matches.map((one) => match(one, p.action)) })),
    })),
    dryRun: p.dryRun,
    weftServices: [...p.services],
  }).finish();
}

const target = (t: BackendTarget): pbWeft.BackendTarget =>
  t.kind === 'service'
    ? { service: t.service, port: t.port, invalid: '' }
    : { service: '', port: 0, invalid: t.reason || 'invalid' };
const change = (c: PathChange | undefined): pbWeft.PathChange | undefined =>
  c && { kind: c.kind, value: c.value };

function filter(f: RouteFilter): NonNullable<pbWeft.RouteFilter['filter']> {
  switch (f.kind) {
    case 'request-headers':
    case 'response-headers': {
      const value = { set: [...f.set], add: [...f.add], remove: [...f.remove] };
      return f.kind === 'request-headers'
        ? { $case: 'requestHeaders', value }
        : { $case: 'responseHeaders', value };
    }
    case 'redirect': {
      const { scheme = '', hostname = '', port: to = 0, statusCode } = f;
      return {
        $case: 'redirect',
        value: { scheme, hostname, port: to, path: change(f.path), statusCode },
      };
    }
    case 'rewrite':
      return { $case: 'rewrite', value: { hostname: f.hostname ?? '', path: change(f.path) } };
    case 'mirror':
      return {
        $case: 'mirror',
        value: { backend: target(f.backend), numerator: f.numerator, denominator: f.denominator },
      };
    case 'cors':
      return {
        $case: 'cors',
        value: {
          allowOrigins: [...f.allowOrigins],
          allowMethods: [...f.allowMethods],
          allowHeaders: [...f.allowHeaders],
          exposeHeaders: [...f.exposeHeaders],
          allowCredentials: f.allowCredentials,
          maxAgeS: f.maxAgeS,
        },
      };
  }
}

const none = { bodyIdleMs: undefined, streamIdleMs: undefined };
function rule(r: RouteRule): pbWeft.RouteRule {
  const { sessionPersistence: session, retry } = r;
  return {
    name: r.name ?? '',
    matches: r.matches.map((m) => ({
      pathKind: m.path?.kind ?? '',
      path: m.path?.value ?? '',
      method: m.method ?? '',
      headers: [...m.headers],
      query: [...m.query],
    })),
    filters: r.filters.map((f) => ({ filter: filter(f) })),
    backends: r.backends.map((b) => ({
      target: target(b.target),
      weight: b.weight,
      filters: b.filters.map((f) => ({ filter: filter(f) })),
    })),
    requestTimeoutMs: r.requestTimeoutMs,
    backendRequestTimeoutMs: r.backendRequestTimeoutMs,
    idleTimeouts: r.idleTimeouts && { ...none, ...r.idleTimeouts },
    retry: retry && { ...retry, codes: [...retry.codes] },
    sessionPersistence: session && {
      kind: session.kind,
      name: session.name,
      absoluteTimeoutMs: session.absoluteTimeoutMs ?? 0,
      idleTimeoutMs: session.idleTimeoutMs ?? 0,
      permanent: session.permanent,
    },
  };
}

export function encodeRoute(r: Route): Uint8Array {
  return pbWeft.Route.encode({
    kind: r.kind,
    namespace: r.namespace,
    name: r.name,
    createdMs: r.createdMs,
    parents: r.parents.map((parent) => ({ service: parent.service, port: parent.port ?? 0 })),
    rules: r.rules.map(rule),
  }).finish();
}

export function encodeNodePod(p: NodePod): Uint8Array {
  return pbWeft.NodePod.encode({
    uid: p.uid,
    name: p.name,
    namespace: p.namespace,
    identity: p.identity,
    addresses: p.addresses.map(bytesOf),
    netns: p.netns,
    podUid: p.podUid,
    probePorts: [...p.probePorts],
    excludeOutboundPorts: [...p.excludeOutboundPorts],
    excludeOutboundCidrs: p.excludeOutboundCidrs.map(({ ip, prefixLength }) => `${ip}/${prefixLength}`),
    excludeInboundPorts: [...p.excludeInboundPorts],
    outboundUnknownRefused: p.outboundUnknown === 'refuse',
    plaintextWithoutAgent: p.agentDown === 'plaintext',
    cutPreexisting: p.cutPreexisting,
    rootsVersion: p.rootsVersion,
    sameNodeEncrypted: p.sameNode === 'encrypted',
    unsplicedPorts: [...p.unsplicedPorts],
    splice: p.splice,
  }).finish();
}

export function encodeUncapturedPod({ uid, name, namespace, podUid, reason }: UncapturedPod): Uint8Array {
  return pbWeft.UncapturedPod.encode({ uid, name, namespace, podUid, reason }).finish();
}

export function encodeTrust(version: string): Uint8Array {
  return pbWeft.Trust.encode({ version }).finish();
}

export function encodeEnrolledNamespace(name: string): Uint8Array {
  return pbWeft.EnrolledNamespace.encode({ name }).finish();
}
