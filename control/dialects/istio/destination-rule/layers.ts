/** The settings that the DestinationRules in force for a host give a port, or a subset at a port. Pure. */
import { isRecord } from '../../../../src/base/record.js';
import type { TrafficSettings } from '../../../compile/traffic-policy.js';
import type { IstioTrafficPolicy } from '../../../objects/istio-destination-rule.js';
import type { ServiceObject } from '../../../objects/objects.js';
import { namespaceOf } from '../../../../src/model/labels.js';
import { completeHost } from '../hosts.js';
import {
  hostOf,
  ruleName,
  rulesInForce,
  type DestinationRule,
  type RuleLookup,
  type RulesInForce,
  type Subset,
} from './in-force.js';
import { portSettings, type PolicyTarget } from './port-settings.js';

/** The Service as a rule needs it. */
export function targetOf(service: ServiceObject): PolicyTarget {
  const { internalTrafficPolicy, trafficDistribution } = service.spec;
  return {
    host: hostOf(service),
    preference:
      internalTrafficPolicy === 'Local' ? 'strict' : trafficDistribution === undefined ? 'none' : 'preferred',
  };
}

/** The settings of one port by one rule, and the object that made them. */
export interface RuleLayer {
  readonly origin: string;
  readonly settings: TrafficSettings;
  /** Of the rules: all that are in force for a host are of one namespace. */
  readonly namespace: string;
}

/**
 * The settings of the rules in force for a port; undefined: none.
 * @param subset absent: of the Service itself
 */
export function ruleLayer(
  target: PolicyTarget,
  { policy }: RulesInForce,
  port: number,
  subset?: Subset,
): RuleLayer | undefined {
  const ofSubset = subset && { policy: policyOfSubset(subset), index: subset.index };
  const hasUnknown = policy?.invalid !== undefined || subset?.rule.invalid !== undefined;
  const { settings, errors } = portSettings(policy?.spec.trafficPolicy, ofSubset, port, target, hasUnknown);
  const closed =
    errors.find(({ closes }) => closes)?.message ??
    (policy && unreadable(policy)) ??
    (ofSubset && !isPolicy(ofSubset.policy)
      ? `subsets[${ofSubset.index}].trafficPolicy: cannot be read`
      : undefined);
  const rule = ofSubset?.policy === undefined ? policy : subset?.rule;
  const origin = `DestinationRule ${rule ? ruleName(rule) : ''}`;
  const all = { ...settings, ...(closed === undefined ? {} : { closed: `${origin}: ${closed}` }) };
  const namespace = rule ? namespaceOf(rule) : '';
  return Object.keys(all).length === 0 ? undefined : { origin, settings: all, namespace };
}

/**
 * The ports of a host outside of the cluster for which its rules ask for TLS, or cannot be read. Without a waypoint, which speaks TLS, these ports
 * are closed, because connections would be plaintext.
 */
export function portsWithTls(
  host: string,
  namespace: string,
  ports: readonly number[],
  lookup: RuleLookup,
): ReadonlySet<number> {
  const rules = rulesInForce(completeHost(host, namespace), namespace, lookup);
  if (!rules) return new Set();
  return new Set(
    ports.filter((port) => {
      const { endpointTls, closed } = ruleLayer({ host, preference: 'none' }, rules, port)?.settings ?? {};
      return endpointTls !== undefined || closed !== undefined;
    }),
  );
}

function policyOfSubset({ rule, index }: Subset): IstioTrafficPolicy | undefined {
  const found: unknown = rule.spec.subsets?.[index];
  return isRecord(found) ? (found['trafficPolicy'] as IstioTrafficPolicy | undefined) : undefined;
}

const fields: ReadonlySet<string> = new Set([
  'host',
  'exportTo',
  'subsets',
  'trafficPolicy',
  'workloadSelector',
]);
/** Why a closed form closes its Services whatever its parts say; undefined: it has only parts that are read one by one. */
function unreadable({ spec, invalid }: DestinationRule): string | undefined {
  if (invalid === undefined) return undefined;
  return Object.keys(spec).every((name) => fields.has(name)) && isPolicy(spec.trafficPolicy)
    ? undefined
    : `cannot be read: ${invalid}`;
}
/** Whether the ports of a policy can be read. */
function isPolicy(value: unknown): boolean {
  if (value === undefined) return true;
  if (!isRecord(value)) return false;
  const ports = value['portLevelSettings'];
  return (
    ports === undefined ||
    (Array.isArray(ports) &&
      ports.every(
        (one: unknown) => isRecord(one) && isRecord(one['port']) && typeof one['port']['number'] === 'number',
      ))
  );
}
