/** Endpoints that Istio's objects describe: ServiceEntry.endpoints and WorkloadEntries. They are plain: nothing proves their identity. Pure. */
import ipaddr from 'ipaddr.js';
import { isIp } from '../../../src/model/address.js';
import { labelsOf, type Labels } from '../../../src/model/labels.js';
import type { PortMapping, Workload } from '../../../src/model/workload.js';
import { appProtocol } from '../../compile/protocols.js';
import type { EntryPort, IstioObject, WorkloadEntrySpec } from '../../objects/istio.js';

/** Labels by which selectors select a WorkloadEntry: those of its spec, and of its metadata. */
export const entryLabels = (entry: IstioObject<'WorkloadEntry'>): Labels => {
  // The spec of a closed form may have any content.
  const own: unknown = (entry.spec as Partial<WorkloadEntrySpec> | null)?.labels;
  return { ...labelsOf(entry), ...(own !== null && typeof own === 'object' ? (own as Labels) : {}) };
};

/** Ranges that lead to the client itself, or to nobody in particular. */
const unusableRanges: ReadonlySet<string> = new Set(['loopback', 'unspecified', 'multicast', 'broadcast']);

/** Why no connection may lead to an address; undefined: it may. @param ip an address */
export function unusableBecause(ip: string): string | undefined {
  const range = ipaddr.process(ip).range();
  return unusableRanges.has(range)
    ? `${ip} is ${range === 'unspecified' ? 'no' : `a ${range}`} address`
    : undefined;
}

/**
 * As `unusableBecause` for endpoints: a link-local address is that of a node's own services, such as its cloud's metadata, and a waypoint on
 * another node, or of another namespace, may connect to it. EndpointSlices cannot have it either.
 */
export const noEndpointBecause = (ip: string): string | undefined =>
  ipaddr.process(ip).range() === 'linkLocal' ? `${ip} is a link-local address` : unusableBecause(ip);

const portMax = 65_535;
/** Throws an Error that names the field of a number that is no port. The published schema admits others in files. */
export function checkPort(port: number | undefined, field: string): void {
  if (port !== undefined && !(port >= 1 && port <= portMax)) throw new Error(`${field}: ${port} is no port`);
}

/** Throws an Error that names the field of an endpoint that cannot be used. */
export function checkEndpoint({ address, network, ports }: WorkloadEntrySpec, field: string): void {
  if (!address && !network)
    throw new Error(`${field}.address: an endpoint without a network needs an address`);
  const because = address && isIp(address) ? noEndpointBecause(address) : undefined;
  if (because !== undefined) throw new Error(`${field}.address: ${because} to which a client could connect`);
  for (const [name, port] of Object.entries(ports ?? {})) checkPort(port, `${field}.ports.${name}`);
}

/** TCP ports. */
export const tcpEntryPorts = (ports: readonly EntryPort[]): readonly EntryPort[] =>
  ports.filter(({ protocol }) => protocol?.toUpperCase() !== 'UDP');

const protocolOf = ({ name, protocol, number }: EntryPort): PortMapping['appProtocol'] =>
  appProtocol({ name, port: number, ...(protocol === undefined ? {} : { appProtocol: protocol }) });

/** The ports of a host at an endpoint. @param own the endpoint's own numbers, by port name */
export const portMappings = (
  ports: readonly EntryPort[],
  own: WorkloadEntrySpec['ports'] = {},
): readonly PortMapping[] =>
  ports.map((port) => ({
    servicePort: port.number,
    targetPort:
      (Object.hasOwn(own, port.name) ? own[port.name] : undefined) ?? port.targetPort ?? port.number,
    appProtocol: protocolOf(port),
  }));

/** The locality and weight of an endpoint. */
export function placeOf({ locality, weight }: WorkloadEntrySpec): Pick<Workload, 'locality' | 'weight'> {
  const [region = '', zone = '', subzone = ''] = (locality ?? '').split('/');
  return {
    ...(region === '' ? {} : { locality: { region, zone, subzone } }),
    ...(weight === undefined || weight === 0 ? {} : { weight }),
  };
}
