/** Derives namespaces, links and routes from a directory of manifests. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../base/errors.js';
import { isManifest, readManifests } from '../../kubernetes/manifests.js';
import { isV6, parseIp, type IpAddress } from '../../model/address.js';
import { waypointFlags } from '../../model/waypoint-settings.js';

interface Manifest {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly annotations?: Record<string, string>;
  };
  readonly spec?: {
    readonly nodeName?: string;
    readonly gatewayClassName?: string;
    readonly rateLimits?: readonly { readonly global?: { readonly service?: unknown } }[];
  };
  readonly status?: {
    readonly addresses?: { type: string; address: string }[];
    readonly podIPs?: { ip: string }[];
  };
}

export interface TestbedPod {
  readonly name: string;
  readonly netns: string;
  readonly addresses: readonly IpAddress[];
}
export interface TestbedNode {
  readonly name: string;
  readonly netns: string;
  readonly addresses: readonly IpAddress[];
  readonly pods: readonly TestbedPod[];
}
export interface Topology {
  readonly nodes: readonly TestbedNode[];
  /** Gateways of the waypoint class. */
  readonly waypoints: readonly {
    readonly namespace: string;
    readonly name: string;
    /** Number of workers, undefined if the Gateway sets none. */
    readonly flags?: readonly string[];
  }[];
  /** A TrafficPolicy has a limit that Weft's rate limit service counts. */
  readonly hasGlobalLimits: boolean;
  /** The control plane's address on the underlay: host 254 of the first node's /24. */
  readonly controlIp: IpAddress;
}

export const underlayNetns = 'weft-underlay';

function manifestsIn(dir: string): Manifest[] {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (error) {
    throw new WeftError('WEFT_BED', `${dir} is not a directory of manifests`, { cause: error });
  }
  return names
    .filter(isManifest)
    .sort()
    .flatMap((name) => {
      const { manifests, errors } = readManifests(readFileSync(join(dir, name), 'utf8'));
      const [error] = errors;
      if (error)
        throw new WeftError(
          'WEFT_BED',
          `${join(dir, name)}:${error.line}: ${error.message}; weft check -f ${dir} lists all problems`,
        );
      return manifests.map(({ value }) => value as Manifest | string);
    })
    .filter((manifest): manifest is Manifest => typeof manifest === 'object');
}

/** True for objects of this group, and for objects without apiVersion. Other groups have kinds of the same names. */
const isOfGroup = ({ apiVersion }: Manifest, group: string): boolean =>
  apiVersion === undefined || (group === '' ? !apiVersion.includes('/') : apiVersion.startsWith(`${group}/`));

const named = ({ kind, metadata }: Manifest): string => `${kind} ${metadata?.name}`;

function netnsOf(manifest: Manifest): string {
  const name = manifest.metadata?.annotations?.['weft.dev/netns'] ?? '';
  if (!/^weft-[a-z0-9-]{1,40}$/.test(name)) {
    throw new WeftError(
      'WEFT_BED',
      `${named(manifest)}: annotation weft.dev/netns must be a name that begins with weft-`,
    );
  }
  return name;
}

/**
 * Reads the Nodes and Pods of a directory. Throws WEFT_BED if they do not form a testbed: a namespace name or an address is used
 * twice, a pod has no node, or two nodes share a block of pod addresses.
 */
export function readTopology(dir: string): Topology {
  const manifests = manifestsIn(dir);
  const core = manifests.filter((manifest) => isOfGroup(manifest, ''));
  const pods = core.filter(({ kind }) => kind === 'Pod');
  const nodeManifests = core.filter(({ kind }) => kind === 'Node');
  const nodes = nodeManifests.map((node): TestbedNode => ({
    name: node.metadata?.name ?? '',
    netns: netnsOf(node),
    addresses: (node.status?.addresses ?? [])
      .filter(({ type }) => type === 'InternalIP')
      .map(({ address }) => parseIp(address)),
    pods: pods
      .filter(({ spec }) => spec?.nodeName === node.metadata?.name)
      .map((pod) => ({
        name: pod.metadata?.name ?? '',
        netns: netnsOf(pod),
        addresses: (pod.status?.podIPs ?? []).map(({ ip }) => parseIp(ip)),
      })),
  }));
  for (const pod of pods) {
    if (!nodes.some(({ name }) => name === pod.spec?.nodeName)) {
      throw new WeftError('WEFT_BED', `${named(pod)}: spec.nodeName names no Node of ${dir}`);
    }
  }
  const once = (what: string, values: readonly string[]): void => {
    const twice = values.find((value, at) => values.indexOf(value) !== at);
    if (twice !== undefined) throw new WeftError('WEFT_BED', `${what} ${twice} is used twice in ${dir}`);
  };
  const all = [...nodes, ...nodes.flatMap((node) => node.pods)];
  once('network namespace', [underlayNetns, ...all.map(({ netns }) => netns)]);
  once(
    'address',
    all.flatMap(({ addresses }) => addresses),
  );
  once(
    'block of pod addresses (each node needs its own)',
    nodes.flatMap((node) => [...new Set(node.pods.flatMap(({ addresses }) => addresses.map(blockOf)))]),
  );
  const first = nodes[0]?.addresses.find((ip) => !isV6(ip));
  if (!first)
    throw new WeftError(
      'WEFT_BED',
      `${dir} has no Node with an IPv4 InternalIP: docs/standalone.md lists what a Node and a Pod need without Kubernetes`,
    );
  const waypoints = manifests
    .filter((manifest) => isOfGroup(manifest, 'gateway.networking.k8s.io'))
    .filter(({ kind, spec }) => kind === 'Gateway' && spec?.gatewayClassName === 'weft-waypoint')
    .map(({ metadata }) => {
      const [namespace, name] = [metadata?.namespace ?? 'default', metadata?.name ?? ''];
      const { flags, problems } = waypointFlags(metadata?.annotations);
      if (problems.length > 0)
        throw new WeftError('WEFT_BED', `Gateway ${namespace}/${name}: ${problems.join('; ')}`);
      return { namespace, name, ...(flags.length > 0 ? { flags } : {}) };
    });
  const hasGlobalLimits = manifests
    .filter((manifest) => manifest.kind === 'TrafficPolicy' && isOfGroup(manifest, 'weft.dev'))
    .some(({ spec }) => spec?.rateLimits?.some(({ global }) => global && !global.service));
  return { nodes, waypoints, hasGlobalLimits, controlIp: parseIp(first.replace(/\d+$/, '254')) };
}

/** The block of an address: /24 or /64. */
export const blockOf = (ip: IpAddress): string =>
  isV6(ip) ? `${expand64(ip)}::/64` : ip.replace(/\d+$/, '0/24');
/** The address of the node in its block of pod addresses. */
export const gatewayOf = (ip: IpAddress): string =>
  isV6(ip) ? `${expand64(ip)}::fffe` : ip.replace(/\d+$/, '254');
export const lengthOf = (ip: IpAddress): number => (isV6(ip) ? 64 : 24);

/** The first four groups of a v6 address. */
function expand64(ip: IpAddress): string {
  const [head = '', tail] = ip.split('::');
  const groups = head === '' ? [] : head.split(':');
  const rest = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - rest.length;
  return [...groups, ...Array.from({ length: missing }, () => '0'), ...rest].slice(0, 4).join(':');
}
