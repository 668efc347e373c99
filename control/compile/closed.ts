/**
 * The closed form of an object that cannot be read: the most restrictive object that its readable fields allow. It is in force in the
 * object's place. It depends on the object alone, never on an earlier version, so that replicas and restarts agree. Pure.
 */
import {
  type AccessPolicyObject,
  type MeshObject,
  type MeshSettingsObject,
  type RouteObject,
  isRoute,
} from '../objects/objects.js';
import type { Labels } from '../../src/model/labels.js';

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

function selectorOf(value: unknown): { readonly matchLabels: Labels } | undefined {
  const labels = isRecord(value) ? value['matchLabels'] : undefined;
  if (!isRecord(labels) || Object.keys(labels).length === 0) return undefined;
  // Another field selects in another way: the policy may be meant for more than these labels.
  if (Object.keys(value as object).length > 1) return undefined;
  return Object.values(labels).every((one) => typeof one === 'string')
    ? { matchLabels: labels as Labels }
    : undefined;
}

function targetsOf(value: unknown): AccessPolicyObject['spec']['targetRefs'] {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const isService = (one: unknown): boolean =>
    isRecord(one) && one['group'] === '' && one['kind'] === 'Service' && typeof one['name'] === 'string';
  return value.every(isService)
    ? (value as readonly { group: string; kind: string; name: string }[]).map(({ group, kind, name }) => ({
        group,
        kind,
        name,
      }))
    : undefined;
}

/**
 * Denies everything to what the policy selects: to its namespace, and in the root namespace to the mesh, where the selection cannot be
 * read. With `mode: audit` it is recorded and not enforced.
 */
function closedPolicy(object: AccessPolicyObject, why: string): AccessPolicyObject {
  const spec: unknown = object.spec;
  const said = isRecord(spec) ? spec : {};
  const selector = selectorOf(said['selector']);
  const targetRefs = targetsOf(said['targetRefs']);
  // With both it is not known which of them is meant.
  const isKnown =
    said['selector'] === undefined
      ? said['targetRefs'] === undefined || targetRefs !== undefined
      : selector !== undefined && said['targetRefs'] === undefined;
  return {
    ...object,
    invalid: why,
    spec: {
      action: 'DENY',
      ...(said['mode'] === 'audit' ? { mode: 'audit' as const } : {}),
      ...(isKnown && selector ? { selector } : {}),
      ...(isKnown && targetRefs ? { targetRefs } : {}),
      rules: [{}],
    },
  };
}

/** The strongest value of each field. A field that is not listed is left out where it cannot be read. */
const strongest: Partial<MeshSettingsObject['spec']> = {
  mode: 'strict',
  outboundUnknown: 'refuse',
  agentDown: 'refuse',
  sameNode: 'encrypted',
};

/** @param wrong fields of `spec` that cannot be read; undefined: all of it */
function closedSettings(
  object: MeshSettingsObject,
  why: string,
  wrong: ReadonlySet<string> | undefined,
): MeshSettingsObject {
  const spec: unknown = object.spec;
  const readable = wrong && isRecord(spec) ? Object.entries(spec).filter(([name]) => !wrong.has(name)) : [];
  const taken = Object.entries(strongest).filter(([name]) => !wrong || wrong.has(name));
  return { ...object, invalid: why, spec: Object.fromEntries([...readable, ...taken]) };
}

/** Answers every request to the parents that can be read with an error. */
export function closedRoute(object: RouteObject, why: string): RouteObject {
  const spec: unknown = object.spec;
  const refs: unknown = isRecord(spec) ? spec['parentRefs'] : undefined;
  const parentRefs = (Array.isArray(refs) ? refs : []).flatMap((ref: unknown) => {
    if (!isRecord(ref) || typeof ref['name'] !== 'string') return [];
    const text = (name: string): Readonly<Record<string, string>> =>
      typeof ref[name] === 'string' ? { [name]: ref[name] } : {};
    const port = typeof ref['port'] === 'number' ? { port: ref['port'] } : {};
    return [
      {
        ...text('group'),
        ...text('kind'),
        ...text('namespace'),
        ...text('sectionName'),
        name: ref['name'],
        ...port,
      },
    ];
  });
  return { ...object, invalid: why, spec: { parentRefs } } as RouteObject;
}

/**
 * Undefined for kinds without a closed form: the last version that could be read, if any, stays in force.
 * @param wrong top-level fields of `spec` that cannot be read; undefined: it is not known which
 */
export function closedForm(
  object: MeshObject,
  why: string,
  wrong: ReadonlySet<string> | undefined,
): MeshObject | undefined {
  if (object.kind === 'AccessPolicy') return closedPolicy(object, why);
  if (object.kind === 'MeshSettings') return closedSettings(object, why, wrong);
  return isRoute(object) ? closedRoute(object, why) : undefined;
}

/** What is in force in the object's place, as the end of a message to its author. */
export const closedMeans = (kind: MeshObject['kind']): string =>
  kind === 'AccessPolicy'
    ? 'until it is corrected, what it selects is closed'
    : kind === 'MeshSettings'
      ? 'until it is corrected, what cannot be read of it has its strongest meaning (strict, refuse, no exclusion)'
      : kind.endsWith('Route')
        ? 'until it is corrected, requests for which it might hold are answered with 500'
        : 'what it last said well, if anything, stays in force';
