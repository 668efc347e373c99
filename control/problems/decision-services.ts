/** Decision services of TrafficPolicies that do not exist: nobody decides about requests. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import { auditedBy, type AuditLookup } from '../compile/audit.js';
import type { ServiceObject } from '../objects/objects.js';
import type { TrafficPolicyObject } from '../objects/traffic-policy.js';

export interface MissingService {
  /** What is missing, and what that means for requests. */
  readonly what: string;
  readonly help: string;
}

/** The entries of a policy's externalAuthorization whose Service or port does not exist. */
export function missingDecisionServices(
  policy: TrafficPolicyObject,
  lookup: AuditLookup & {
    readonly service: (namespace: string, name: string) => ServiceObject | undefined;
  },
): readonly MissingService[] {
  if (policy.invalid !== undefined) return [];
  const own = namespaceOf(policy);
  const isTried = policy.spec.dryRun === true || auditedBy(own, lookup) !== undefined;
  return (policy.spec.externalAuthorization ?? []).flatMap(
    ({ name, service: to, failOpen, dryRun }): MissingService[] => {
      const namespace = to.namespace ?? own;
      const service = lookup.service(namespace, to.name);
      if (service?.spec.ports?.some(({ port }) => port === to.port)) return [];
      const missing = service
        ? `Service ${namespace}/${to.name} has no port ${to.port}`
        : `there is no Service ${namespace}/${to.name}`;
      const means =
        failOpen === true || dryRun === true || isTried ? 'pass without a decision' : 'are refused';
      return [
        {
          what: `externalAuthorization ${name}: ${missing}: requests that it is asked about ${means}`,
          help: 'create it, or correct the name and port',
        },
      ];
    },
  );
}
