import type { NodePod } from '../../../src/model/node-pod.js';
import { namespaceOf, selects, type Labels } from '../../../src/model/labels.js';
import type { IstioObject } from '../../objects/istio.js';
import type { Registry } from '../../registry/registry.js';
import { differs, nothing, usedFields, works, type FieldTable } from '../fields.js';
import { differing, fieldRemarks } from '../remarks.js';
import { istioKind } from './istio-kind.js';
import { byAge } from '../../objects/age.js';

type Sidecar = IstioObject<'Sidecar'>;

const noSidecar = 'a workload has no proxy of its own whose listeners could be configured';

export const sidecarFields: FieldTable = {
  workloadSelector: works,
  'egress[].hosts': differs(
    'with `outboundTrafficPolicy.mode: REGISTRY_ONLY` connections to other hosts are refused. Otherwise they are not restricted: a host that is not listed is still reached through the mesh. A pod that is an endpoint of a listed Service may be reached by its other Services, too',
  ),
  'egress[].port': nothing(noSidecar),
  'egress[].bind': nothing(noSidecar),
  'egress[].captureMode': nothing(noSidecar, 'annotations of the pod (configuration.md)'),
  ingress: nothing(noSidecar, 'a Service, whose targetPort leads to the application'),
  inboundConnectionPool: nothing(
    noSidecar,
    'the section circuitBreaker of a TrafficPolicy (circuit-breaking.md)',
  ),
  'outboundTrafficPolicy.mode': works,
  'outboundTrafficPolicy.mode=ALLOW_ANY': differs(
    'it does not allow what MeshSettings refuse (`outboundUnknown: refuse`)',
  ),
  'outboundTrafficPolicy.egressProxy': nothing('Weft has no egress gateway'),
};

export const sidecarKind = istioKind(
  'Sidecar',
  { group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], plural: 'sidecars' },
  {
    dependents({ namespace }, { indexes, rootNamespace }, recompile) {
      const of =
        namespace === rootNamespace
          ? [...indexes.Pod.namespaces(), ...indexes.Workload.namespaces()]
          : [namespace];
      for (const one of new Set(of)) {
        recompile.objects(indexes.Pod.in(one));
        recompile.objects(indexes.Workload.in(one));
      }
    },
    compile(sidecar, { registry }) {
      if (sidecar.invalid !== undefined) return { resources: [] };
      const { spec } = sidecar;
      const namespace = namespaceOf(sidecar);
      const unread = (spec.egress ?? []).flatMap(({ hosts }) => hosts.filter((host) => !hostForm.test(host)));
      const remarks = [
        ...unread.map((host) =>
          differing(
            `${JSON.stringify(host.slice(0, 64))} is not of the form NAMESPACE/HOST and names nothing`,
            'egress[].hosts',
          ),
        ),
        ...(namespace === registry.rootNamespace && selectorOf(sidecar)
          ? [differing('in the root namespace it selects workloads of that namespace', 'workloadSelector')]
          : []),
      ];
      const isBounding = spec.outboundTrafficPolicy?.mode === 'REGISTRY_ONLY';
      const used = usedFields(spec, sidecarFields).filter(
        // All hosts are no restriction that could be missing.
        ({ entry, value }) => entry !== 'egress[].hosts[]' || (!isBounding && value !== '*/*'),
      );
      return { resources: [], remarks: [...remarks, ...fieldRemarks(used)] };
    },
  },
);

const hostForm = /^(\*|\.|~|[a-z0-9-]+)\/(\*|(\*\.)?[A-Za-z0-9_.-]+)$/;

const selectorOf = ({ spec }: Sidecar): Labels | undefined => {
  const labels = spec.workloadSelector?.labels;
  return labels && Object.keys(labels).length > 0 ? labels : undefined;
};

const oldestOf = (sidecars: readonly Sidecar[]): Sidecar | undefined => [...sidecars].sort(byAge)[0];

/** The Sidecar that is in force for a workload: one that selects it, else that of its namespace, else that of the root namespace. */
function sidecarOf(registry: Registry, namespace: string, labels: Labels): Sidecar | undefined {
  const own = registry.indexes.Sidecar.in(namespace);
  // What an unreadable object selects is unknown.
  const unread = own.filter(({ invalid }) => invalid !== undefined);
  const read = own.filter(({ invalid }) => invalid === undefined);
  const wide = (all: readonly Sidecar[]): readonly Sidecar[] => all.filter((one) => !selectorOf(one));
  return (
    oldestOf(unread) ??
    oldestOf(read.filter((one) => selects(selectorOf(one), labels))) ??
    oldestOf(wide(read)) ??
    (namespace === registry.rootNamespace
      ? undefined
      : oldestOf(
          registry.indexes.Sidecar.in(registry.rootNamespace).filter(
            (one) => one.invalid !== undefined || !selectorOf(one),
          ),
        ))
  );
}

/** A host of `egress` as a pattern of src/model/outbound-hosts.ts; undefined: it names nothing. */
function patternOf(host: string, namespace: string): string | undefined {
  if (!hostForm.test(host) || host.startsWith('~/')) return undefined;
  return host.toLowerCase().replace(/^\.\//, `${namespace}/`);
}

/**
 * What the Sidecar of a workload restricts of its outbound connections; undefined: nothing. A Sidecar that cannot be read refuses all of
 * them: it may have been meant to.
 */
export function outboundOf(
  registry: Registry,
  namespace: string,
  labels: Labels,
): Pick<NodePod, 'outboundUnknown' | 'outboundHosts'> | undefined {
  const sidecar = sidecarOf(registry, namespace, labels);
  if (!sidecar) return undefined;
  if (sidecar.invalid !== undefined) return { outboundUnknown: 'refuse', outboundHosts: [] };
  const { egress, outboundTrafficPolicy } = sidecar.spec;
  if (outboundTrafficPolicy?.mode !== 'REGISTRY_ONLY') return undefined;
  // Without `egress` all hosts are known.
  const patterns = egress?.flatMap(({ hosts }) => hosts.flatMap((host) => patternOf(host, namespace) ?? []));
  return {
    outboundUnknown: 'refuse',
    ...(patterns && !patterns.includes('*/*') ? { outboundHosts: [...new Set(patterns)].sort() } : {}),
  };
}
