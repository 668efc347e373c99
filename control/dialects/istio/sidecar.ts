import { namespaceOf } from '../../../src/model/labels.js';
import { differs, nothing, usedFields, works, type FieldTable } from '../fields.js';
import { differing, fieldRemarks } from '../remarks.js';
import { istioKind } from './istio-kind.js';
import { hostForm, selectorOf } from './sidecar-bounds.js';

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
      if (!recompile.once(`Sidecars ${namespace}`)) return;
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
