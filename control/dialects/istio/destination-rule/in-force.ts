/**
 * Which DestinationRules are in force for a Service: those of its own namespace, else those of the root namespace; of one namespace those
 * with the most specific host. Of several for one host the subsets are merged, and the oldest with a trafficPolicy sets it. Rules of other
 * namespaces do nothing. Pure.
 */
import { namespaceOf, type Labels } from '../../../../src/model/labels.js';
import { subsetKey, subsetNamePattern } from '../../../../src/model/subset.js';
import type { ServiceKey } from '../../../../src/model/workload.js';
import type { IstioObject, ServiceObject } from '../../../objects/objects.js';
import { hostAndWildcards, hostOfService } from '../hosts.js';
import { isRecord } from '../../../../src/base/record.js';

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

/** The complete host name of a Service, in lower case. */
export const hostOf = (service: ServiceObject): string =>
  hostOfService(namespaceOf(service), service.metadata.name).toLowerCase();

export const rulesOfService = (service: ServiceObject, lookup: RuleLookup): RulesInForce | undefined => {
  return rulesInForce(hostOf(service), namespaceOf(service), lookup);
};

/** The rules that name the Service's host, and may be in force for it. */
export function rulesNaming(service: ServiceObject, lookup: RuleLookup): readonly DestinationRule[] {
  const host = hostOf(service);
  return [namespaceOf(service), lookup.rootNamespace].flatMap((namespace) =>
    lookup.destinationRulesOf(host, namespace).slice(0, rulesMax + 1),
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
