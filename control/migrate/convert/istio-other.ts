/** ServiceEntries as ExternalServices, and the kinds of Istio that nothing takes the place of. */
import { fieldsOf, textOf, type Fields, type SourceObject } from '../load.js';
import type { Block } from './block.js';
import { modeLabels } from './istio-security.js';
import { Reader } from './reader.js';

const protocols: Readonly<Record<string, string>> = {
  HTTP: 'http',
  HTTP2: 'http2',
  GRPC: 'grpc',
  HTTPS: 'tls',
  TLS: 'tls',
  TCP: 'tcp',
};
const isAddress = (text: string): boolean => /^[0-9.]+$/.test(text) || text.includes(':');

export function convertServiceEntry(block: Block): void {
  const { namespace, name, value } = block.source;
  const reader = new Reader(fieldsOf(value['spec']));
  const hosts = reader.texts('hosts');
  const addresses = reader.texts('addresses');
  const resolution = reader.text('resolution') ?? 'NONE';
  const keep = 'Nothing of the object was converted. Weft reads the ServiceEntry as it is: keep it';
  const refuse = (field: string, message: string): void => block.lost(field, `${message}. ${keep}`);
  if (reader.text('location') === 'MESH_INTERNAL')
    return refuse(
      'location',
      'workloads of the mesh outside of the cluster are Workloads, with an agent on their machine',
    );
  if (reader.has('workloadSelector')) return refuse('workloadSelector', 'an ExternalService selects no pods');
  if (addresses.some((one) => one.includes('/')))
    return refuse('addresses', 'an ExternalService has addresses, no blocks of them');
  const endpoints = reader.children('endpoints').map((one, i) => {
    const address = one.text('address') ?? '';
    return { address, port: one.map('ports'), reader: one, field: `endpoints[${i}]` };
  });
  const fixed = endpoints.map(({ address }) => address);
  if (
    resolution.startsWith('DNS') ||
    resolution.startsWith('DYNAMIC') ||
    fixed.some((one) => !isAddress(one))
  )
    return refuse('resolution', `an ExternalService has addresses and resolves no names (${resolution})`);
  const own = addresses.length > 0 ? addresses : fixed;
  if (own.length === 0)
    return refuse('addresses', 'an ExternalService needs the addresses that clients dial');
  const ports = reader.children('ports').map((one): Fields => {
    const [protocol, target] = [one.text('protocol') ?? '', one.number('targetPort')];
    const appProtocol = protocols[protocol];
    if (appProtocol === undefined) block.lost(one.pathOf('protocol'), `Weft relays ${protocol} as TCP`);
    const portName = one.text('name');
    return {
      ...(portName === undefined ? {} : { name: portName }),
      port: one.number('number'),
      ...(target === undefined ? {} : { targetPort: target }),
      ...(appProtocol === undefined ? {} : { appProtocol }),
    };
  });
  const exportTo = reader.texts('exportTo');
  if (exportTo.length === 0 || exportTo.includes('*'))
    block.differs(
      'exportTo',
      `an ExternalService counts for its own namespace, and for all with the label weft.dev/export=enabled of the Namespace ${namespace}`,
    );
  else if (exportTo.some((one) => one !== '.' && one !== namespace))
    block.lost('exportTo', `an ExternalService counts for its own namespace, or for all`);
  for (const [i, host] of hosts.entries()) {
    if (host.includes('*')) {
      block.lost(`hosts[${i}]`, `an ExternalService has one complete host name, and ${host} has many`);
      continue;
    }
    block.add({
      apiVersion: 'weft.dev/v1alpha1',
      kind: 'ExternalService',
      metadata: { name: i === 0 ? name : `${name}-${i}`, namespace },
      spec: {
        host: host.toLowerCase(),
        addresses: own,
        ports,
        ...(fixed.length > 0 && addresses.length > 0
          ? { endpoints: fixed.map((address) => ({ address })) }
          : {}),
      },
    });
  }
  for (const path of reader.rest()) block.lost(path, 'an ExternalService has nothing of the kind');
}

/** What takes the place of kinds that convert does not write. */
const instead: Readonly<Record<string, string>> = {
  Sidecar:
    'Weft sends a node what its pods may reach without it. Who may connect is an AccessPolicy of the destination, and outboundUnknown: refuse of MeshSettings refuses what is not in the mesh',
  WorkloadEntry:
    'a Workload takes its place: it needs the node name of the agent on the machine, and the network namespace there (docs/external.md)',
  WorkloadGroup: 'a Workload per machine takes its place (docs/external.md)',
  Telemetry:
    'metrics and access logs of waypoints are set by the parametersRef and the annotations of their Gateway',
  Gateway:
    'a Gateway of gateway.networking.k8s.io of your ingress controller takes its place. Weft has no ingress gateway',
  EnvoyFilter: 'Weft has no Envoy. A TrafficPolicy has rate limits, timeouts, retries and faults',
  WasmPlugin: 'waypoints run no plugins',
  TrafficExtension: 'waypoints run no plugins',
  ProxyConfig: 'pods have no proxy of their own',
};
export function convertOtherIstio(block: Block): void {
  const { kind } = block.source;
  block.lost('', instead[kind] ?? `Weft does not know the kind ${kind}`);
}

const enrollment: readonly string[] = ['istio-injection', 'istio.io/rev', 'istio.io/dataplane-mode'];
const waypoints: readonly string[] = ['istio.io/use-waypoint', 'istio.io/use-waypoint-namespace'];

const without = (fields: Fields, keys: readonly string[]): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([key]) => !keys.includes(key)));

/**
 * A Namespace with labels of another mesh, with Weft's in their place.
 * @param sources its PeerAuthentication is a label, too
 */
export function convertNamespace(block: Block, sources: readonly SourceObject[]): void {
  const { name, value } = block.source;
  const metadata = fieldsOf(value['metadata']);
  const [labels, annotations] = [fieldsOf(metadata['labels']), fieldsOf(metadata['annotations'])];
  const inject = textOf(annotations['linkerd.io/inject']);
  const isIn =
    labels['istio-injection'] === 'enabled' ||
    labels['istio.io/dataplane-mode'] === 'ambient' ||
    (labels['istio.io/rev'] !== undefined && labels['istio-injection'] !== 'disabled') ||
    inject === 'enabled' ||
    inject === 'ingress';
  const waypoint = textOf(labels['istio.io/use-waypoint']);
  const from = textOf(labels['istio.io/use-waypoint-namespace']);
  const modes = sources.flatMap((one) =>
    one.kind === 'PeerAuthentication' && one.namespace === name && one.errors.length === 0
      ? (modeLabels(one) ?? [])
      : [],
  );
  const added: Fields = {
    ...(isIn ? { 'weft.dev/mesh': 'enabled' } : {}),
    ...(waypoint === undefined ? {} : { 'weft.dev/waypoint': waypoint }),
    ...(from === undefined ? {} : { 'weft.dev/waypoint-namespace': from }),
    ...(modes.find((mode) => mode['weft.dev/mode'] === 'strict') ?? modes[0]),
  };
  if (Object.keys(added).length === 0) return;
  const kept = without(annotations, ['linkerd.io/inject', 'config.linkerd.io/default-inbound-policy']);
  const doc = block.add({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name,
      labels: { ...without(labels, [...enrollment, ...waypoints]), ...added },
      ...(Object.keys(kept).length > 0 ? { annotations: kept } : {}),
    },
  });
  const old = [
    ...[...enrollment, ...waypoints].filter((key) => labels[key] !== undefined),
    ...(inject === undefined ? [] : ['linkerd.io/inject']),
  ];
  if (old.length > 0)
    block.differs(
      'metadata',
      `remove ${old.join(', ')} from the Namespace, and restart pods that have a sidecar`,
      {
        doc,
        path: ['metadata', 'labels'],
      },
    );
}

/** A waypoint of Istio as one of Weft. */
export function convertGateway(block: Block): void {
  const { namespace, name, value } = block.source;
  const { gatewayClassName } = fieldsOf(value['spec']);
  if (gatewayClassName !== 'istio-waypoint') return;
  block.add({
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { name, namespace },
    spec: { ...fieldsOf(value['spec']), gatewayClassName: 'weft-waypoint' },
  });
}
