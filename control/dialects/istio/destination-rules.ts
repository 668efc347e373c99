/**
 * Which DestinationRules are in force for a Service: those of its own namespace, else those of the root namespace; of one namespace those
 * with the most specific host. Of several for one host the subsets are merged, and the oldest with a trafficPolicy sets it. Rules of other
 * namespaces do nothing. Pure.
 */
import { namespaceOf, type Labels } from '../../../src/model/labels.js';
import { subsetKey, subsetNamePattern } from '../../../src/model/subset.js';
import type { ServiceKey } from '../../../src/model/workload.js';
import type { TrafficSettings } from '../../compile/traffic-policy.js';
import type { IstioTrafficPolicy } from '../../objects/istio-destination-rule.js';
import type { IstioObject, ServiceObject } from '../../objects/objects.js';
import { portSettings, type PolicyTarget } from './destination-rule-policy.js';
import { completeHost, hostAndWildcards, hostOfService } from './hosts.js';
import { isRecord } from '../../../src/base/record.js';

export type DestinationRule = IstioObject<'DestinationRule'>;

/** Rules of one namespace for one host that are merged, and their subsets. Each subset is an entry of every pod that it has. */
export const rulesMax = 32;
export const subsetsMax = 128;

export interface Subset {
  readonly name: string;
  readonly labels: Labels;
  readonly rule: DestinationRule;
  /** In the list of its rule. */
  readonly index: number;
}
export interface RulesInForce {
  /** The oldest first. */
  readonly rules: readonly DestinationRule[];
  /** The rule whose trafficPolicy is in force. */
  readonly policy: DestinationRule | undefined;
  readonly subsets: readonly Subset[];
  /** Subsets that an older rule, or an earlier entry, has as well, or that are too many. */
  readonly left: readonly Subset[];
}

export type RuleLookup = {
  readonly rootNamespace: string;
  destinationRulesOf(host: string, namespace?: string): readonly DestinationRule[];
};

export const ruleName = ({ metadata }: DestinationRule): string =>
  `${namespaceOf({ metadata })}/${metadata.name}`;

/** Whether a rule of the root namespace is for clients of all namespaces, or of this one. The `exportTo` of other rules has no effect. */
function isExportedTo({ spec }: DestinationRule, namespace: string): boolean {
  const { exportTo } = spec;
  return (
    !Array.isArray(exportTo) ||
    exportTo.length === 0 ||
    exportTo.includes('*') ||
    exportTo.includes(namespace)
  );
}

/** A rule for chosen clients has no effect: settings are a Service's. */
export const isForSome = ({ spec }: DestinationRule): boolean => spec.workloadSelector !== undefined;

/** The rules of a namespace that are in force for a host; undefined: none. */
function rulesOf(
  lookup: RuleLookup,
  host: string,
  namespace: string,
  of: string,
): readonly DestinationRule[] | undefined {
  for (const wanted of hostAndWildcards(host)) {
    const all = lookup.destinationRulesOf(wanted, namespace);
    if (all.length === 0) continue;
    // Without a limit, the cost of many rules of one host would grow with the square of their number.
    const found = all
      .slice(0, rulesMax)
      .filter((rule) => !isForSome(rule) && (namespace === of || isExportedTo(rule, of)));
    if (found.length > 0) return found;
  }
  return undefined;
}

/** The subsets of a rule that can be read. A closed form may have any content. */
function subsetsOf(rule: DestinationRule): readonly Subset[] {
  const { subsets } = rule.spec;
  return (Array.isArray(subsets) ? (subsets as readonly unknown[]) : []).flatMap((one, index) =>
    subsetProblem(one) === undefined
      ? [{ name: (one as Subset).name, labels: (one as Partial<Subset>).labels ?? {}, rule, index }]
      : [],
  );
}

/** Why a subset cannot be formed; undefined: it can. */
export function subsetProblem(subset: unknown): string | undefined {
  if (!isRecord(subset)) return 'expected an object';
  const { name, labels } = subset;
  if (typeof name !== 'string' || !subsetNamePattern.test(name))
    return `name: ${JSON.stringify(name)?.slice(0, 80)} is not a name of letters, digits, '-', '.' and '_' with at most 63 characters`;
  if (labels === undefined) return undefined;
  return isRecord(labels) && Object.values(labels).every((value) => typeof value === 'string')
    ? undefined
    : 'labels: expected texts';
}

/** The rules in force for a host of a namespace; undefined: none. @param host complete, in lower case */
export function rulesInForce(host: string, namespace: string, lookup: RuleLookup): RulesInForce | undefined {
  const rules =
    rulesOf(lookup, host, namespace, namespace) ??
    (namespace === lookup.rootNamespace ? undefined : rulesOf(lookup, host, lookup.rootNamespace, namespace));
  if (!rules) return undefined;
  const subsets = new Map<string, Subset>();
  const left: Subset[] = [];
  for (const subset of rules.flatMap(subsetsOf)) {
    if (subsets.has(subset.name) || subsets.size >= subsetsMax) left.push(subset);
    else subsets.set(subset.name, subset);
  }
  const policy = rules.find(({ spec, invalid }) => spec.trafficPolicy !== undefined || invalid !== undefined);
  return { rules, policy, subsets: [...subsets.values()], left };
}

export const rulesOfService = (service: ServiceObject, lookup: RuleLookup): RulesInForce | undefined => {
  const { host } = targetOf(service);
  return rulesInForce(host, namespaceOf(service), lookup);
};

/** The rules that name the Service's host, and may be in force for it. */
export function rulesNaming(service: ServiceObject, lookup: RuleLookup): readonly DestinationRule[] {
  const { host } = targetOf(service);
  return [namespaceOf(service), lookup.rootNamespace].flatMap((namespace) =>
    lookup.destinationRulesOf(host, namespace).slice(0, rulesMax + 1),
  );
}

/** The Service as a rule needs it. */
export function targetOf(service: ServiceObject): PolicyTarget {
  const { internalTrafficPolicy, trafficDistribution } = service.spec;
  return {
    host: hostOfService(namespaceOf(service), service.metadata.name).toLowerCase(),
    preference:
      internalTrafficPolicy === 'Local' ? 'strict' : trafficDistribution === undefined ? 'none' : 'preferred',
  };
}

/** The settings of one port by one rule, and the object that made them. */
export interface RuleLayer {
  readonly origin: string;
  readonly settings: TrafficSettings;
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
  return Object.keys(all).length === 0 ? undefined : { origin, settings: all };
}

/**
 * The ports of a host outside of the cluster for which its rules ask for TLS, or cannot be read. Connections to such hosts pass no waypoint,
 * which could speak it: they are closed, because they would be plaintext.
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

export interface SubsetKey {
  readonly key: ServiceKey;
  readonly subset: Subset;
}
/** The keys of a Service's subsets. */
export const subsetKeys = (service: ServiceKey, { subsets }: RulesInForce): readonly SubsetKey[] =>
  subsets.map((subset) => ({ key: subsetKey(service, subset.name), subset }));

/** Whether a pod of the Service with these labels is in the subset. A subset without labels has every pod. */
export const hasLabels = ({ labels: wanted }: Subset, labels: Labels): boolean =>
  Object.entries(wanted).every(([key, value]) => labels[key] === value);
