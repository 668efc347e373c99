/** Finds what SOURCE and DESTINATION name. Pure. Errors: WEFT_EXPLAIN_INPUT, with what there is. */
import { errorText, WeftError } from '../../base/errors.js';
import { isIp, isV6, parseIp, type IpAddress, type SocketAddress } from '../../model/address.js';
import { parseSpiffeId, workloadIdentityOf, type SpiffeId } from '../../model/identity.js';
import type { NodePod } from '../../model/node-pod.js';
import type { Service } from '../../model/service.js';
import type { Workload, WorkloadUid } from '../../model/workload.js';
import { hostNamesOf, slashed } from '../../state/mesh-part.js';
import { anywhere } from '../policy/variants.js';
import type { ExplainMesh } from './mesh.js';

/** One client. */
export interface Source {
  readonly name: string;
  /** Undefined: plaintext. */
  readonly identity: SpiffeId | undefined;
  readonly namespace: string;
  readonly node: string;
  readonly addresses: readonly IpAddress[];
  readonly workload: Workload | undefined;
  /** Undefined: it is not in the mesh, so that its connections are not captured. */
  readonly pod: NodePod | undefined;
}

export interface Destination {
  readonly name: string;
  readonly service: Service | undefined;
  readonly port: number;
  /** What the client dials: the address of the Service, or those of pods. */
  readonly dialed: readonly SocketAddress[];
  /** The pods, if no Service is dialed. */
  readonly workloads: readonly Workload[];
}

const wrong = (message: string): WeftError => new WeftError('WEFT_EXPLAIN_INPUT', message);
const namesShown = 12;

const listed = (names: readonly string[]): string => {
  const unique = [...new Set(names)].sort();
  if (unique.length === 0) return 'nothing';
  const more = unique.length - namesShown;
  return unique.slice(0, namesShown).join(', ') + (more > 0 ? ` and ${more} more` : '');
};

/** `shop has: api, web`, or which namespaces there are. */
function whatThereIs(mesh: ExplainMesh, namespace: string, names: (one: Workload) => string): string {
  const all = mesh.snapshot.mesh.workloads ?? [];
  if (all.length === 0) return 'there are no pods at all: are these the manifests of the mesh?';
  const there = all.filter((one) => one.namespace === namespace);
  return there.length > 0
    ? `namespace ${namespace} has ${listed(there.map(names))}`
    : `there is nothing in namespace ${namespace}: there are pods in ${listed(all.map((one) => one.namespace))}`;
}

/** The message of an error without what there is, which a part of a mesh does not know. */
export const withoutWhatThereIs = (message: string): string =>
  message.replace(/: (?:namespace \S+ has|there is nothing in|there are) .*$/, '');

function sourceOfWorkload(mesh: ExplainMesh, workload: Workload): Source {
  const enrolled = mesh.enrolled(workload.uid);
  const { namespace, name, node, addresses } = workload;
  if (workload.nativeTunnel === true)
    throw wrong(
      `SOURCE: ${namespace}/${name} is a waypoint, which connects on behalf of its clients: ask for one of them`,
    );
  return {
    name: `${namespace}/${name}`,
    identity: enrolled?.pod.identity,
    namespace,
    node: enrolled?.node ?? node,
    addresses: enrolled?.pod.addresses ?? addresses,
    workload,
    pod: enrolled?.pod,
  };
}

/** A pod with this identity on a node without other pods: an identity whose pods are not known. */
function anyPodOf(identity: SpiffeId): Source {
  const { namespace = '', serviceAccount = '' } = workloadIdentityOf(identity) ?? {};
  const pod: NodePod = {
    uid: `Kubernetes//Pod/${namespace}/${serviceAccount} (any)` as WorkloadUid,
    name: `${serviceAccount} (any pod)`,
    namespace,
    identity,
    addresses: [anywhere],
    netns: '',
    podUid: '',
    probePorts: [],
    excludeOutboundPorts: [],
    excludeOutboundCidrs: [],
    excludeInboundPorts: [],
    outboundUnknown: 'allow',
    agentDown: 'refuse',
    cutPreexisting: false,
    sameNode: 'encrypted',
    splice: false,
    unsplicedPorts: [],
    goldenSignals: false,
    rootsVersion: '',
  };
  return {
    name: identity,
    identity,
    namespace,
    node: '',
    addresses: pod.addresses,
    workload: undefined,
    pod,
  };
}

/** The clients that SOURCE or `--identity` means. */
export function sourcesOf(
  mesh: ExplainMesh,
  source: string | undefined,
  given: string | undefined,
): readonly Source[] {
  const all = mesh.snapshot.mesh.workloads ?? [];
  if (given !== undefined) {
    let identity: SpiffeId;
    try {
      identity = parseSpiffeId(given);
    } catch (error) {
      throw wrong(
        `--identity ${given}: ${errorText(error)}: expected for example spiffe://cluster.local/ns/shop/sa/web`,
      );
    }
    const own = all.filter((one) => one.identity === identity && mesh.enrolled(one.uid));
    return own.length > 0 ? own.map((one) => sourceOfWorkload(mesh, one)) : [anyPodOf(identity)];
  }
  const text = source ?? '';
  if (isIp(text)) {
    const ip = parseIp(text);
    const own = mesh.view.claimantsOf(ip)[0];
    if (own) return [sourceOfWorkload(mesh, own)];
    return [
      {
        name: text,
        identity: undefined,
        namespace: '',
        node: '',
        addresses: [ip],
        workload: undefined,
        pod: undefined,
      },
    ];
  }
  const parts = slashed(text);
  if (!parts)
    throw wrong(
      `SOURCE ${JSON.stringify(text)} must be NAMESPACE/POD, NAMESPACE/DEPLOYMENT or an address; --identity is for an identity`,
    );
  const [namespace, name] = parts;
  const found = mesh.names.workloads(namespace, name, name);
  if (found.length === 0)
    throw wrong(
      `SOURCE: there is no pod, Deployment or app ${text}: ${whatThereIs(mesh, namespace, (one) => one.name)}`,
    );
  return found.map((one) => sourceOfWorkload(mesh, one));
}

function split(text: string): { readonly name: string; readonly port: number | undefined } {
  if (isIp(text)) return { name: text, port: undefined };
  const found = /^(.*):(\d{1,5})$/.exec(text);
  if (!found) {
    const [, name = '', port = ''] = /^([^[\]:]+):([^:]*)$/.exec(text) ?? [];
    if (name !== '')
      throw wrong(`DESTINATION: ${JSON.stringify(port)} is no port: pass a number, ${name}:80`);
    return { name: text, port: undefined };
  }
  const port = Number(found[2]);
  if (port < 1 || port > 65535) throw wrong(`DESTINATION: ${port} is no port`);
  return { name: (found[1] ?? '').replace(/^\[(.*)\]$/, '$1'), port };
}

function portOf(name: string, port: number | undefined, ports: readonly number[]): number {
  const unique = [...new Set(ports)];
  if (port !== undefined) return port;
  const [only] = unique;
  if (only !== undefined && unique.length === 1) return only;
  throw wrong(
    unique.length === 0
      ? `DESTINATION ${name}: say the port: ${name}:PORT`
      : `DESTINATION ${name} has several ports: say one of ${name}:${unique.join(`, ${name}:`)}`,
  );
}

function ofService(
  mesh: ExplainMesh,
  service: Service,
  port: number | undefined,
  like: IpAddress | undefined,
): Destination {
  const number = portOf(
    `${service.namespace}/${service.name}`,
    port,
    service.ports.map(({ servicePort }) => servicePort),
  );
  const address =
    service.addresses.find(({ ip }) => like !== undefined && isV6(ip) === isV6(like)) ?? service.addresses[0];
  // A headless Service: its name leads to the addresses of its pods.
  const ips = address
    ? [address.ip]
    : mesh.view.endpointsOf(service.key).flatMap(({ addresses: [ip] }) => ip ?? []);
  return {
    name: service.hostname,
    service,
    port: number,
    dialed: ips.map((ip) => ({ ip, port: number })),
    workloads: [],
  };
}

/** What DESTINATION means to a client. */
export function destinationOf(mesh: ExplainMesh, text: string, source: Source): Destination {
  const { name, port } = split(text);
  const like = source.addresses[0];
  if (isIp(name)) {
    const ip = parseIp(name);
    const service = mesh.view.serviceByAddress(ip, source.namespace);
    if (service)
      return {
        ...ofService(mesh, service, port, ip),
        dialed: [
          {
            ip,
            port:
              port ??
              portOf(
                name,
                port,
                service.ports.map((one) => one.servicePort),
              ),
          },
        ],
      };
    const own = mesh.view.workloadByAddress(ip, source.namespace);
    const number = portOf(name, port, own ? targetPorts(own) : []);
    return {
      name,
      service: undefined,
      port: number,
      dialed: [{ ip, port: number }],
      workloads: own ? [own] : [],
    };
  }
  const parts = slashed(name);
  if (parts) {
    const [namespace, one] = parts;
    const service = mesh.names.serviceNamed(namespace, one);
    if (service) return ofService(mesh, service, port, like);
    const workloads = mesh.names.workloads(namespace, one, one);
    if (workloads.length === 0)
      throw wrong(
        `DESTINATION: there is no Service, pod, Deployment or app ${name}: ${whatThereIs(mesh, namespace, (each) => each.name)}`,
      );
    const number = portOf(name, port, workloads.flatMap(targetPorts));
    return {
      name,
      service: undefined,
      port: number,
      workloads,
      dialed: workloads.flatMap(({ addresses }) => {
        const ip = addresses.find((each) => like !== undefined && isV6(each) === isV6(like)) ?? addresses[0];
        return ip === undefined ? [] : [{ ip, port: number }];
      }),
    };
  }
  const service = byHost(mesh, name, source.namespace);
  if (!service)
    throw wrong(
      `DESTINATION: there is no Service with the host name ${name}: there are ${listed((mesh.snapshot.mesh.services ?? []).map(({ hostname }) => hostname))}; what is outside of the mesh is named by its address`,
    );
  return ofService(mesh, service, port, like);
}

const targetPorts = (workload: Workload): number[] =>
  [...workload.services.values()]
    .flatMap((ports) => ports.map(({ targetPort }) => targetPort))
    .filter((one) => one > 0);

function byHost(mesh: ExplainMesh, host: string, namespace: string): Service | undefined {
  for (const one of hostNamesOf(host, namespace)) {
    const service = mesh.names.serviceOf(one, namespace);
    if (service) return service;
  }
  return undefined;
}
