/** The fields of SMI's objects in one form: older versions have them beside `metadata`, newer ones in `spec`. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type {
  HttpMatchObject,
  SmiKind,
  SmiObject,
  TrafficSplitSpec,
  TrafficTargetSpec,
} from '../../objects/objects.js';
import { isRecord } from '../../../src/base/record.js';

/** Versions of each kind, newest first. */
export const smiVersions: Readonly<Record<SmiKind, readonly [string, ...string[]]>> = {
  TrafficSplit: ['v1alpha4', 'v1alpha3', 'v1alpha2', 'v1alpha1'],
  HTTPRouteGroup: ['v1alpha4', 'v1alpha3', 'v1alpha2', 'v1alpha1'],
  SmiTCPRoute: ['v1alpha4', 'v1alpha3', 'v1alpha2', 'v1alpha1'],
  SmiUDPRoute: ['v1alpha4'],
  TrafficTarget: ['v1alpha3', 'v1alpha2', 'v1alpha1'],
};

/** Error: the object is of a version that was published later, so that its fields may mean something else. */
export function checkVersion({ kind, apiVersion }: SmiObject): void {
  const version = apiVersion?.split('/')[1];
  if (version !== undefined && !smiVersions[kind].includes(version))
    throw new Error(
      `apiVersion: version ${version} is not known; it may be one of ${smiVersions[kind].join(', ')}`,
    );
}

export const matchesOfGroup = ({ spec, matches }: SmiObject<'HTTPRouteGroup'>): readonly HttpMatchObject[] =>
  spec?.matches ?? matches ?? [];

/** The ports of a TCPRoute. Empty: all. */
export const portsOfRoute = ({ spec }: SmiObject<'SmiTCPRoute'>): readonly number[] =>
  spec?.matches?.ports ?? [];

/** The spec of a TrafficTarget. Error: it has none, or it has fields at both places. */
export function targetSpec({
  spec,
  destination,
  specs,
  sources,
}: SmiObject<'TrafficTarget'>): TrafficTargetSpec {
  if (spec && (destination ?? specs ?? sources))
    throw new Error('destination, specs and sources are given beside spec: give them at one place');
  const taken = spec ?? {
    ...(destination && { destination }),
    ...(specs && { rules: specs }),
    ...(sources && { sources }),
  };
  if (!taken.destination) throw new Error('destination: it is missing');
  return { ...taken, destination: taken.destination };
}

/** As `targetSpec` for the table of fields: with the names that the version gives the fields. */
export const writtenFields = ({ spec, destination, specs, sources, matches }: SmiObject): object =>
  spec ?? { destination, specs, sources, matches };

const textOf = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

/** The destination of a TrafficTarget, of which only the kind, name and namespace of the object are relied on. */
export interface Destination {
  readonly namespace: string;
  /** Undefined: it cannot be read. */
  readonly account: string | undefined;
}
export function destinationOf(object: SmiObject<'TrafficTarget'>): Destination {
  const spec: unknown = object.spec;
  const given: unknown = isRecord(spec) ? spec['destination'] : object.destination;
  const fields = isRecord(given) ? given : {};
  const own = namespaceOf(object);
  const namespace = fields['namespace'];
  if (namespace !== undefined && typeof namespace !== 'string') return { namespace: own, account: undefined };
  return {
    namespace: textOf(namespace) ?? own,
    account: fields['kind'] === 'ServiceAccount' ? textOf(fields['name']) : undefined,
  };
}

const suffixes = ['', '.svc', '.svc.cluster.local'];
/**
 * The name of a Service that a TrafficSplit names, in its own namespace: `web`, or the complete host name. Undefined: it is of another
 * namespace, or no name.
 */
export function serviceName(given: unknown, namespace: string): string | undefined {
  const text = textOf(given)?.toLowerCase().replace(/\.$/, '');
  if (text === undefined || !text.includes('.')) return text;
  const name = text.slice(0, text.indexOf('.'));
  return suffixes.some((suffix) => text === `${name}.${namespace}${suffix}`) ? name : undefined;
}

/** The root Service of a TrafficSplit in its namespace, of which only the object's name is relied on. */
export function rootOf({ spec, metadata }: SmiObject<'TrafficSplit'>): string | undefined {
  return serviceName(isRecord(spec) ? spec['service'] : undefined, namespaceOf({ metadata }));
}

/** Services and HTTPRouteGroups that a TrafficSplit names besides its root, of which only the object's name is relied on. */
export function namedBySplit(object: SmiObject<'TrafficSplit'>): {
  readonly services: readonly string[];
  readonly groups: readonly string[];
} {
  const spec: Partial<Record<keyof TrafficSplitSpec, unknown>> = isRecord(object.spec) ? object.spec : {};
  const members = (list: unknown, field: string): string[] =>
    (Array.isArray(list) ? list : []).flatMap((one: unknown) => {
      const text = isRecord(one) ? textOf(one[field]) : undefined;
      return text === undefined ? [] : [text];
    });
  const own = namespaceOf(object);
  return {
    services: members(spec.backends, 'service').flatMap((one) => serviceName(one, own) ?? []),
    groups: members(spec.matches, 'name'),
  };
}

/** Routes that a TrafficTarget names, of which only the object's name is relied on. */
export function namedByTarget(object: SmiObject<'TrafficTarget'>): readonly string[] {
  const spec: unknown = object.spec;
  const given: unknown = isRecord(spec) ? spec['rules'] : object.specs;
  return (Array.isArray(given) ? given : []).flatMap((one: unknown) =>
    isRecord(one) && typeof one['kind'] === 'string' && typeof one['name'] === 'string'
      ? [`${one['kind']} ${one['name']}`]
      : [],
  );
}
