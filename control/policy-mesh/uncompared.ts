/** TrafficPolicies that manifests change, and whose effect observed calls do not tell: rates, and decisions of services. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import { inModeOf } from '../compile/audit.js';
import type { Compiler } from '../compile/compile.js';
import { compileTrafficPolicy, type SectionName } from '../compile/traffic-policy.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { TrafficPolicyObject } from '../objects/objects.js';

/** Sections that may refuse or end requests. */
const refusing: ReadonlySet<string> = new Set<SectionName>([
  'rateLimits',
  'externalAuthorization',
  'circuitBreaker',
  'loadShedding',
  'faults',
  'timeouts',
]);

/** What acts, by section. What is in dry run or audit mode refuses nothing. */
function acting(policy: TrafficPolicyObject, mesh: Compiler): ReadonlyMap<string, string> {
  const [compiled] = inModeOf(namespaceOf(policy), [compileTrafficPolicy(policy)], mesh);
  const found = new Map<string, string>();
  const { targetRefs } = policy.spec;
  for (const { name, isDryRun, settings } of compiled?.sections ?? [])
    if (!isDryRun && refusing.has(name))
      found.set(name, JSON.stringify([settings, targetRefs, compiled?.from]));
  if (compiled?.closed !== undefined)
    found.set('what cannot be read', JSON.stringify([compiled.closed, targetRefs]));
  return found;
}

/** What acts of all TrafficPolicies of a mesh, by policy. */
export type Acting = ReadonlyMap<ObjectKey, ReadonlyMap<string, string>>;

/** Of a mesh as it is now: a compiler changes with what is applied to it. */
export const actingPolicies = (mesh: Compiler): Acting =>
  new Map([...mesh.ofKind('TrafficPolicy')].map((policy) => [objectKey(policy), acting(policy, mesh)]));

/** One sentence for each policy whose acting sections the manifests add or change. */
export function uncompared(before: Acting, after: Compiler): string[] {
  return [...after.ofKind('TrafficPolicy')].flatMap((policy) => {
    const known = before.get(objectKey(policy));
    const changed = [...acting(policy, after)].filter(([name, text]) => known?.get(name) !== text);
    if (changed.length === 0) return [];
    const sections = changed.map(([name]) => name).join(', ');
    return [
      `not compared: TrafficPolicy ${namespaceOf(policy)}/${policy.metadata.name}: what ${sections} would refuse is not known from calls; try it with dryRun: true`,
    ];
  });
}
