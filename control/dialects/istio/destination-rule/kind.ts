/**
 * DestinationRules: how waypoints balance, limit and watch a Service's endpoints, and subsets of the endpoints. Its settings are compiled
 * with the Services that it is in force for (in-force.ts, layers.ts, compile/service-policy.ts, compile/subsets.ts).
 */
import { namespaceOf } from '../../../../src/model/labels.js';
import type { Recompile } from '../../../kinds/kind.js';
import type { IstioObject, ServedObject, ServiceObject } from '../../../objects/objects.js';
import type { Problem } from '../../../registry/claims.js';
import { mayHaveWaypoint } from '../../../compile/waypoints.js';
import type { Registry } from '../../../registry/registry.js';
import { hasSelector } from '../../../compile/endpoint-slice.js';
import { slicesNaming } from '../../../registry/slices.js';
import { usedFields, type UsedField } from '../../fields.js';
import { closedRemark, differing, fieldRemarks, type Remark } from '../../remarks.js';
import { destinationRuleFields } from './fields.js';
import { isScopeLabel } from './sections.js';
import { portSettings } from './port-settings.js';
import {
  isForSome,
  ruleName,
  rulesInForce,
  rulesMax,
  rulesOfService,
  subsetProblem,
  subsetsMax,
  type DestinationRule,
} from './in-force.js';
import { credentialRemarks } from './credentials.js';
import { portsWithTls } from './layers.js';
import { completeHost, hostOfService, hostsOf, serviceOfHost } from '../hosts.js';
import { istioKind } from '../istio-kind.js';
import { serviceSlot } from '../virtual-service-slots.js';

export const destinationRuleKind = istioKind(
  'DestinationRule',
  { group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], plural: 'destinationrules' },
  {
    dependents({ before, now }, registry, recompile) {
      const hasPods = subsetsKey(before) !== subsetsKey(now);
      for (const rule of [before, now]) if (rule) recompileServices(rule, hasPods, registry, recompile);
    },
    compile(rule, { registry }) {
      if (rule.invalid !== undefined) return { resources: [] };
      check(rule);
      const problem = standingProblem(rule, registry);
      if (problem) return { resources: [], problem };
      return {
        resources: [],
        remarks: [
          ...fieldRemarks(usedFields(rule.spec, destinationRuleFields).filter(isRemarkable(rule))),
          ...standingRemarks(rule, registry),
        ],
      };
    },
  },
);

/** Equal as long as the pods of a Service are in the same subsets. */
const subsetsKey = (rule: DestinationRule | undefined): string => {
  if (!rule) return '';
  const { trafficPolicy: _, ...others } = rule.spec;
  return JSON.stringify([others, rule.metadata.creationTimestamp]);
};

/** Throws for the first field that cannot be read. */
function check({ spec }: DestinationRule): void {
  const { subsets = [], trafficPolicy } = spec;
  if (completeHost(spec.host, 'x') === '' || /\s/.test(spec.host))
    throw new Error('host: expected a host name');
  const names = new Set<string>();
  for (const [i, subset] of subsets.entries()) {
    const problem = subsetProblem(subset);
    if (problem !== undefined) throw new Error(`subsets[${i}].${problem}`);
    if (names.has(subset.name)) throw new Error(`subsets[${i}].name: ${subset.name} occurs twice`);
    names.add(subset.name);
  }
  if (subsets.length > subsetsMax) throw new Error(`subsets: at most ${subsetsMax} are supported`);
  const policies = [trafficPolicy, ...subsets.map((subset) => subset.trafficPolicy)];
  policies.forEach((policy, i) => {
    if (!policy) return;
    const { portLevelSettings = [] } = policy;
    // 0 is no port: the settings of the others.
    const ports = [0, ...portLevelSettings.map(({ port }) => port?.number ?? 0)];
    for (const port of ports) {
      const target = { host: '', preference: 'none' as const };
      const { errors } =
        i === 0
          ? portSettings(policy, undefined, port, target, false)
          : portSettings(undefined, { policy, index: i - 1 }, port, target, false);
      const found = errors.find(({ isUnsupported }) => !isUnsupported);
      if (found) throw new Error(found.message);
    }
  });
}

/** Fields with remarks that hold for some of their values alone. */
const isRemarkable =
  ({ spec }: DestinationRule) =>
  ({ path, entry, value }: UsedField): boolean => {
    // The status itself says which Service the rule acts on.
    if (entry === 'host') return false;
    if (entry.endsWith('tls.sni')) return false;
    if (entry.endsWith('loadBalancer.simple')) return value === 'PASSTHROUGH';
    if (entry.endsWith('retryBudget.percent')) return !Number.isInteger(value);
    if (entry.endsWith('httpCookie.ttl')) return /^0+(\.0+)?[a-z]*$/.test(String(value));
    if (entry.endsWith('failoverPriority[]')) return !isScopeLabel(String(value));
    if (!/(^|\.)tls\./.test(entry)) return true;
    const mode = valueAt(spec, path.replace(/tls\..*/, 'tls.mode'));
    if (entry.endsWith('tls.mode')) return mode === 'DISABLE';
    // What closes is a remark of its own (credentials.ts); that the Secret has no ca.crt for Weft is one of MUTUAL.
    if (entry.endsWith('tls.credentialName')) return mode === 'MUTUAL';
    if (mode !== 'SIMPLE' && mode !== 'MUTUAL') return false;
    return !['', 'system', false, null].includes(value as string);
  };

function valueAt(spec: unknown, path: string): unknown {
  let at = spec;
  for (const name of path.split(/[.[\]]+/))
    if (name !== '') at = (at as Record<string, unknown> | undefined)?.[name];
  return at;
}

/** Why nothing of the rule is in force; undefined: something may be. */
function standingProblem(rule: DestinationRule, registry: Registry): Problem | undefined {
  const namespace = namespaceOf(rule);
  if (isForSome(rule))
    return {
      reason: 'Unsupported',
      message:
        'workloadSelector: settings are those of a Service, for all of its clients, so nothing of the rule is in force; use a TrafficPolicy with from',
    };
  const host = completeHost(rule.spec.host, namespace);
  if (!registry.destinationRulesOf(host, namespace).slice(0, rulesMax).includes(rule))
    return {
      reason: 'Conflicted',
      message: `${rulesMax} rules of the namespace are older and have the same host: nothing of this one is in force`,
    };
  if (host.startsWith('*')) return undefined;
  const isRoot = namespace === registry.rootNamespace;
  const named = serviceOfHost(host);
  const service = named && registry.service(named.namespace, named.name);
  if (named && named.namespace !== namespace && namespace !== registry.rootNamespace)
    return {
      reason: 'NotPermitted',
      message: `host: Service ${named.namespace}/${named.name} is configured by rules of its own namespace and of ${registry.rootNamespace}; nothing of this one is in force`,
    };
  const entries = named ? [] : entriesOf(host, isRoot ? undefined : namespace, registry);
  if (entries.length > 0)
    return entries.some(mayHaveWaypoint)
      ? undefined
      : {
          reason: 'Unsupported',
          message:
            'host: connections to the ServiceEntry take no waypoint, because its resolution is not STATIC or DNS, or it has a workloadSelector. Nothing of the rule is in force; ports for which it asks for TLS are closed',
        };
  if (!service)
    return { reason: 'TargetNotFound', message: `host: there is no Service with the host ${host}` };
  const { rules = [] } = rulesOfService(service, registry) ?? {};
  if (rules.some((one) => ruleName(one) === ruleName(rule))) return undefined;
  const [other] = rules;
  return {
    reason: 'Conflicted',
    message: other
      ? `${ruleName(other)} is in force for the host: rules of the Service's namespace take the place of those of ${registry.rootNamespace}`
      : `exportTo: the rule is not for clients of namespace ${namespaceOf(service)}`,
  };
}

/** What of a rule in force is not. */
function standingRemarks(rule: DestinationRule, registry: Registry): Remark[] {
  const namespace = namespaceOf(rule);
  const host = completeHost(rule.spec.host, namespace);
  const inForce = rulesInForce(host, namespace, registry);
  const name = ruleName(rule);
  const { policy } = inForce ?? {};
  const merged =
    policy && rule.spec.trafficPolicy && ruleName(policy) !== name
      ? [
          differing(
            `that of ${ruleName(policy)} is in force, which has the same host and is older`,
            'trafficPolicy',
          ),
        ]
      : [];
  const taken = (inForce?.left ?? []).filter((subset) => ruleName(subset.rule) === name);
  // One line for all: a rule may have many subsets.
  const [one] = taken;
  const more = taken.length > 1 ? ` and ${taken.length - 1} more are` : ' is';
  const subsets = one
    ? [
        differing(
          `${one.name}${more} not in force: an older rule with the same host has it, or the Service has ${subsetsMax} subsets`,
          'subsets',
        ),
      ]
    : [];
  const named = serviceOfHost(host);
  const service = named && registry.service(named.namespace, named.name);
  const waypoint = service && registry.waypointOf(service);
  const unserved: Remark[] =
    service && !waypoint ? [unservedRemark(`Service ${named.namespace}/${named.name}`)] : [];
  const of = namespace === registry.rootNamespace ? undefined : namespace;
  const acted = function* (): Generator<ServedObject> {
    yield* servicesOf(host, of, registry);
    yield* entriesOf(host, of, registry);
  };
  return [
    ...unserved,
    ...merged,
    ...subsets,
    ...entryRemarks(rule, host, registry),
    ...credentialRemarks(rule, acted(), registry),
  ];
}

const unservedRemark = (what: string): Remark => ({
  does: 'unserved',
  field: 'host',
  message: `${what} has no waypoint, so nothing is in force until its label weft.dev/waypoint, or its namespace's, names one`,
});

/** What of a rule is not in force for hosts of ServiceEntries. */
function entryRemarks(rule: DestinationRule, host: string, registry: Registry): Remark[] {
  const namespace = namespaceOf(rule);
  if (host.startsWith('*') && serviceOfHost(host)) return [];
  const entries = entriesOf(host, namespace === registry.rootNamespace ? undefined : namespace, registry);
  const lacking = entries.find((entry) => registry.waypointOf(entry) === undefined);
  const ports = (lacking?.spec.ports ?? []).map(({ number }) => number);
  const closed =
    lacking && ports.find((port) => portsWithTls(host, namespaceOf(lacking), [port], registry).size > 0);
  const remarks: Remark[] = [];
  if (lacking) remarks.push(unservedRemark(`ServiceEntry ${namespaceOf(lacking)}/${lacking.metadata.name}`));
  if (closed !== undefined)
    remarks.push(closedRemark(`without a waypoint, connections to port ${closed} would be plaintext`, 'tls'));
  if (entries.length > 0 && (rule.spec.subsets ?? []).length > 0)
    remarks.push({
      does: 'nothing',
      field: 'subsets',
      message: 'endpoints of ServiceEntries are in no subset',
    });
  return remarks;
}

/** Recompiles the Services that a rule may be in force for, the pods of its subsets, and the rules that it is merged with. */
function recompileServices(
  rule: DestinationRule,
  hasPods: boolean,
  registry: Registry,
  recompile: Recompile,
): void {
  const namespace = namespaceOf(rule);
  const isRoot = namespace === registry.rootNamespace;
  for (const host of hostsOf(rule)) {
    recompile.objects(registry.destinationRulesOf(host, namespace).slice(0, rulesMax + 1));
    if (!isRoot)
      recompile.objects(registry.destinationRulesOf(host, registry.rootNamespace).slice(0, rulesMax));
    recompile.objects(entriesOf(host, isRoot ? undefined : namespace, registry));
    for (const service of servicesOf(host, isRoot ? undefined : namespace, registry)) {
      recompile.objects([service]);
      if (!hasPods) continue;
      recompile.selected(namespaceOf(service), service.spec.selector);
      if (!hasSelector(service))
        recompile.objects(slicesNaming(namespaceOf(service), service.metadata.name, registry));
      // They say in their status which subsets there are not.
      recompile.later(
        registry.virtualServicesNaming(serviceSlot(namespaceOf(service), service.metadata.name)),
      );
    }
  }
}

/** The ServiceEntries with a host. @param namespace only of this one; undefined: of all */
function entriesOf(
  host: string,
  namespace: string | undefined,
  registry: Registry,
): readonly IstioObject<'ServiceEntry'>[] {
  if (!host.startsWith('*')) return registry.serviceEntriesOf(host, namespace);
  const { ServiceEntry: index } = registry.indexes;
  const suffix = host.slice(1);
  return [...(namespace === undefined ? index.all() : index.in(namespace))].filter((entry) =>
    hostsOf(entry).some((one) => one.endsWith(suffix)),
  );
}

/** The Services with a host. @param namespace only of this one; undefined: of all */
function servicesOf(
  host: string,
  namespace: string | undefined,
  registry: Registry,
): readonly ServiceObject[] {
  const named = serviceOfHost(host);
  if (!host.startsWith('*')) {
    if (!named || (namespace !== undefined && named.namespace !== namespace)) return [];
    const service = registry.service(named.namespace, named.name);
    return service ? [service] : [];
  }
  const all = namespace === undefined ? registry.indexes.Service.all() : registry.services(namespace);
  const suffix = host.slice(1);
  return [...all].filter((service) =>
    hostOfService(namespaceOf(service), service.metadata.name).endsWith(suffix),
  );
}
