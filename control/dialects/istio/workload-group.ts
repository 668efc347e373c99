import { nothing, usedFields, type FieldTable } from '../fields.js';
import { fieldRemarks, remarksText } from '../remarks.js';
import { istioKind } from './istio-kind.js';

const instead = 'a Workload for each machine, and a join token for its agent (external.md)';

/** A WorkloadGroup describes WorkloadEntries that machines make when they register themselves. */
export const workloadGroupFields: FieldTable = {
  '': nothing(
    'no machine registers itself in Weft: its operator decides which Workloads it accepts',
    instead,
  ),
  probe: nothing(
    'Weft probes no endpoint that it has not registered',
    'a Workload, and active health checks of a TrafficPolicy at its Service (health-checks.md)',
  ),
};

export const workloadGroupKind = istioKind(
  'WorkloadGroup',
  { group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], plural: 'workloadgroups' },
  {
    compile({ spec, invalid }) {
      if (invalid !== undefined) return { resources: [] };
      const message = remarksText(
        fieldRemarks(usedFields(spec, workloadGroupFields).map((used) => ({ ...used, entry: 'spec' }))),
      );
      return {
        resources: [],
        problem: {
          reason: 'Unsupported',
          message: message ?? `no machine registers itself in Weft; use ${instead}`,
        },
      };
    },
  },
);
