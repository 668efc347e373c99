import { namespaceOf } from '../../src/model/labels.js';
import { claimRanks } from '../../src/model/ownership.js';
import { podOfWorkload, workloadProblem } from '../compile/workload.js';
import { objectKey } from '../objects/object-key.js';
import type { WorkloadObject } from '../objects/objects.js';
import { accountTextOf } from '../registry/account-index.js';
import { labelsSlot } from '../dialects/istio/virtual-service-slots.js';
import { addressClaims } from '../registry/claims.js';
import { acceptedStatus } from '../status/accepted.js';
import type { Kind } from './kind.js';
import { pickOwn, type Raw } from './metadata.js';
import { authenticatedServices } from './authenticated-services.js';
import { compileAsPod } from './pod.js';

export const workloadKind: Kind<WorkloadObject> = {
  address: { group: 'weft.dev', versions: ['v1alpha1'], plural: 'workloads' },
  schema: 'crd',
  pickFields: (raw) => ({ kind: 'Workload', ...pickOwn(raw as Raw<WorkloadObject>) }),
  claims: ({ spec }) => ({ rank: claimRanks.workload, claimed: addressClaims(spec.addresses) }),
  dependents({ before, now, namespace }, registry, recompile) {
    recompile.objects(authenticatedServices(namespace, [before, now], registry));
    if (accountTextOf(before) !== accountTextOf(now))
      recompile.later(registry.virtualServicesNaming(labelsSlot));
  },
  compile(workload, context) {
    const { registry } = context;
    const isAccepted = registry.isAccepted(workload);
    const problem = workloadProblem(objectKey(workload), workload, isAccepted, registry.claims);
    // Without a placement, no machine may request a certificate for its identity.
    if (problem) return { resources: [], problem };
    const isScoped = !registry.isExported(namespaceOf(workload));
    return compileAsPod(podOfWorkload(workload), context, { kind: 'Workload', isWaypoint: false, isScoped });
  },
  status: acceptedStatus,
};
