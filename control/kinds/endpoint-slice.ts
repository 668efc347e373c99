import { labelsOf, namespaceOf } from '../../src/model/labels.js';
import { compileSlice, serviceNameLabel } from '../compile/endpoint-slice.js';
import type { EndpointSliceObject } from '../objects/objects.js';
import type { Kind } from './kind.js';
import { pickMeta, type RawMeta } from './metadata.js';

/** The Kubernetes controller derives its slices from selectors, which Weft compiles itself. Only other slices are read. */
const ownSlices = 'endpointslice-controller.k8s.io';

export const endpointSliceKind: Kind<EndpointSliceObject> = {
  address: { group: 'discovery.k8s.io', versions: ['v1'], plural: 'endpointslices' },
  schema: 'core',
  pickFields: (raw) => pickSlice(raw as RawSlice),
  compile(slice, { settings, registry, rulesOf }) {
    const name = labelsOf(slice)[serviceNameLabel];
    const service = name === undefined ? undefined : registry.service(namespaceOf(slice), name);
    const endpoints = compileSlice(slice, service, settings.trustDomain, service && rulesOf(service));
    return { resources: endpoints.map((value) => ({ kind: 'workload', value }) as const) };
  },
};

interface RawSlice {
  readonly metadata: RawMeta;
  readonly addressType?: string;
  readonly endpoints?: readonly {
    readonly addresses?: readonly string[];
    readonly conditions?: { readonly ready?: boolean };
    readonly nodeName?: string;
  }[];
  readonly ports?: readonly { readonly name?: string; readonly port?: number; readonly protocol?: string }[];
}

function pickSlice(raw: RawSlice): EndpointSliceObject | undefined {
  const labels = raw.metadata.labels ?? {};
  if (labels['endpointslice.kubernetes.io/managed-by'] === ownSlices || raw.addressType === 'FQDN')
    return undefined;
  return {
    kind: 'EndpointSlice',
    metadata: pickMeta(raw.metadata),
    endpoints: (raw.endpoints ?? []).map(({ addresses, conditions, nodeName }) => ({
      addresses: addresses ?? [],
      // Absent means ready (EndpointSlice API).
      ready: conditions?.ready !== false,
      ...(nodeName ? { nodeName } : {}),
    })),
    ports: (raw.ports ?? []).flatMap(({ name, port, protocol }) =>
      port !== undefined && (protocol ?? 'TCP') === 'TCP' ? [{ ...(name ? { name } : {}), port }] : [],
    ),
  };
}
