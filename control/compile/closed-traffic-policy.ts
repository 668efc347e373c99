/**
 * The closed form of a TrafficPolicy that cannot be read. Sections that can be read stay in force. A section that cannot be read is left
 * out; if it may restrict requests, the requests to the policy's readable targets are refused in its place. Pure.
 */
import type { ClientRef, TargetRef, TrafficPolicyObject } from '../objects/objects.js';
import { clientProblem, compileSection, sectionNames, type SectionName } from './traffic-policy.js';
import { isRecord } from '../../src/base/record.js';

/** Without these sections more requests would pass. The others say where requests go, how long they may take, or which faults they get. */
const restricting: ReadonlySet<string> = new Set<SectionName>([
  'circuitBreaker',
  'rateLimits',
  'externalAuthorization',
  'loadShedding',
]);
const others: ReadonlySet<string> = new Set(['targetRefs', 'from', 'dryRun']);

type Fields = Readonly<Record<string, unknown>>;

/** The target that a reference of any content names; undefined: it cannot be read. */
export function targetOf(value: unknown): TargetRef | undefined {
  if (!isRecord(value)) return undefined;
  const { group, kind, name, sectionName, ...more } = value;
  const isService = group === '' && kind === 'Service';
  const isGateway = group === 'gateway.networking.k8s.io' && kind === 'Gateway' && sectionName === undefined;
  if (!(isService || isGateway) || typeof name !== 'string') return undefined;
  // An unknown field may narrow the target, as an unreadable section name does: the whole Service is meant, then.
  const isKnown = typeof sectionName === 'string' && Object.keys(more).length === 0;
  return {
    group: isService ? '' : group,
    kind: isService ? 'Service' : kind,
    name,
    ...(isKnown ? { sectionName } : {}),
  } as TargetRef;
}

const isDry = (section: unknown): boolean =>
  Array.isArray(section)
    ? section.length > 0 && section.every((one: unknown) => isRecord(one) && one['dryRun'] === true)
    : isRecord(section) && section['dryRun'] === true;

/** Whether the section can be read by itself, and can be for the clients that the policy names. */
function isReadable(policy: TrafficPolicyObject, name: SectionName): boolean {
  const { spec } = policy;
  if (spec.from && clientProblem(spec, name) !== undefined) return false;
  try {
    compileSection(policy, name);
    return true;
  } catch {
    return false;
  }
}

/** @param wrong top-level fields of `spec` that cannot be read; undefined: all of them */
export function closedTrafficPolicy(
  object: TrafficPolicyObject,
  why: string,
  wrong: ReadonlySet<string> | undefined,
): TrafficPolicyObject {
  const spec: Fields = isRecord(object.spec) ? object.spec : {};
  const refs = Array.isArray(spec['targetRefs']) ? (spec['targetRefs'] as readonly unknown[]) : [];
  const targetRefs = refs.flatMap((ref) => targetOf(ref) ?? []);
  const dryRun = spec['dryRun'] === true;
  const hasFrom = spec['from'] !== undefined;
  const isFromWrong = hasFrom && (!wrong || wrong.has('from'));
  const whole = {
    targetRefs,
    ...(hasFrom && !isFromWrong ? { from: spec['from'] as readonly ClientRef[] } : {}),
    ...(dryRun ? { dryRun } : {}),
  };
  const given = sectionNames.filter((name) => spec[name] !== undefined);
  const readable = given.filter(
    (name) =>
      wrong !== undefined &&
      !wrong.has(name) &&
      !isFromWrong &&
      isReadable({ ...object, spec: { ...whole, [name]: spec[name] } }, name),
  );
  const unread = given.filter((name) => !readable.includes(name));
  const hasUnknown = Object.keys(spec).some(
    (name) => !others.has(name) && !sectionNames.includes(name as SectionName),
  );
  const closes =
    !dryRun && (hasUnknown || unread.some((name) => restricting.has(name) && !isDry(spec[name])));
  return {
    ...object,
    invalid: why,
    unread,
    ...(closes ? { closes: true } : {}),
    spec: { ...whole, ...Object.fromEntries(readable.map((name) => [name, spec[name]])) },
  };
}
