/**
 * Services that objects name and that were not given. A directory of a mesh's configuration often lacks them, and without them nothing could be
 * said about the objects. They are assumed to exist, with the ports that are named, and to have a waypoint.
 */
import { completeHost, serviceOfHost } from '../dialects/istio/hosts.js';
import { waypointClass } from '../compile/waypoints.js';
import type { GatewayObject, MeshObject, ServiceObject } from '../objects/objects.js';
import { Services } from './convert/services.js';
import { fieldsOf, groupOf, listOf, textOf, type Loaded, type SourceObject } from './load.js';
import { isRecord } from '../../src/base/record.js';
import { serviceName } from '../dialects/smi/specs.js';

interface Named {
  readonly namespace: string;
  readonly name: string;
  readonly ports: Set<number>;
}

const portsOf = (value: unknown): number[] =>
  [fieldsOf(value)['number'], value].flatMap((one) =>
    typeof one === 'number' && Number.isInteger(one) && one > 0 && one < 65_536 ? [one] : [],
  );

class Names {
  readonly found = new Map<string, Named>();

  add(host: unknown, namespace: string, ports: readonly number[] = []): void {
    const text = textOf(host);
    const service = text === undefined ? undefined : serviceOfHost(completeHost(text, namespace));
    if (service) this.addService(service.namespace, service.name, ports);
  }
  addService(namespace: string, name: string, ports: readonly number[] = []): void {
    const key = `${namespace}/${name}`;
    const known = this.found.get(key) ?? { namespace, name, ports: new Set<number>() };
    this.found.set(key, known);
    for (const port of ports) known.ports.add(port);
  }

  /** All destinations below a value: `{host, port: {number}}`. */
  destinations(value: unknown, namespace: string): void {
    if (Array.isArray(value)) for (const one of value) this.destinations(one, namespace);
    if (!isRecord(value)) return;
    for (const [key, one] of Object.entries(value)) {
      if ((key === 'destination' || key === 'mirror') && isRecord(one))
        this.add(one['host'], namespace, portsOf(one['port']));
      this.destinations(one, namespace);
    }
  }
}

/** The names of Services of an object. Hosts without a namespace are of the object's own. */
function addNames(
  names: Names,
  { kind, apiVersion, namespace, value }: SourceObject,
  services: Services,
): void {
  const group = groupOf(apiVersion);
  const spec = fieldsOf(value['spec']);
  if (group === 'split.smi-spec.io' && kind === 'TrafficSplit') {
    const service = serviceName(spec['service'], namespace);
    if (service === undefined) return;
    const ports = services.get(namespace, service)?.ports.map(({ port }) => port) ?? [];
    for (const name of [
      service,
      ...listOf(spec['backends']).flatMap((one) => serviceName(one['service'], namespace) ?? []),
    ])
      names.addService(namespace, name, ports);
  }
  if (group !== 'networking.istio.io') return;
  if (kind === 'VirtualService') {
    for (const host of Array.isArray(spec['hosts']) ? (spec['hosts'] as unknown[]) : [])
      names.add(host, namespace);
    names.destinations(spec, namespace);
  }
  if (kind === 'DestinationRule') {
    names.add(spec['host'], namespace);
    const { portLevelSettings } = fieldsOf(spec['trafficPolicy']);
    for (const one of Array.isArray(portLevelSettings) ? (portLevelSettings as unknown[]) : [])
      names.add(spec['host'], namespace, portsOf(fieldsOf(one)['port']));
  }
}

const assumedService = ({ namespace, name, ports }: Named, address: number): ServiceObject => ({
  kind: 'Service',
  metadata: { name, namespace, labels: { 'weft.dev/waypoint': waypointName } },
  spec: {
    selector: { 'weft.dev/assumed': name },
    // In the block for documentation (RFC 3849).
    clusterIP: `2001:db8::${address.toString(16)}`,
    clusterIPs: [`2001:db8::${address.toString(16)}`],
    ports: [...(ports.size === 0 ? [80] : ports)].map((port) => ({
      name: `http-${port}`,
      port,
      targetPort: port,
      protocol: 'TCP',
    })),
  },
});

const waypointName = 'waypoint';
const assumedGateway = (namespace: string): GatewayObject => ({
  kind: 'Gateway',
  metadata: { name: waypointName, namespace },
  spec: { gatewayClassName: waypointClass, listeners: [] },
});

/** The objects to compile, and the names of the assumed Services. */
export function withAssumedServices({ sources, objects }: Loaded): {
  readonly objects: readonly MeshObject[];
  readonly assumed: readonly string[];
} {
  const names = new Names();
  const services = new Services(sources);
  for (const source of sources) addNames(names, source, services);
  const given = new Set(
    sources.flatMap(({ kind, apiVersion, namespace, name }) =>
      kind === 'Service' && apiVersion === 'v1' ? [`${namespace}/${name}`] : [],
    ),
  );
  const lacking = [...names.found].filter(([key]) => !given.has(key)).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    objects: [
      // An object that was given takes the place of an assumed one of the same name.
      ...[...new Set(lacking.map(([, { namespace }]) => namespace))].map(assumedGateway),
      ...objects,
      ...lacking.map(([, named], index) => assumedService(named, index + 1)),
    ],
    assumed: lacking.map(([key]) => key),
  };
}
