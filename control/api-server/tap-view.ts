/** Events of taps as a reader of some namespaces sees them. Pure. */
import type { TapEvent, TapParty } from '../../src/model/mesh-snapshot.js';
import type { TapFilter } from '../../src/model/tap.js';
import { policyNamespaces } from './edges-view.js';

const policiesOf = ({ policy = '', audited = [] }: TapEvent): readonly string[] => [policy, ...audited];

/** Namespaces whose names an event may have. */
export const namespacesOfEvent = (event: TapEvent): readonly string[] => [
  event.source.namespace,
  event.destination.namespace,
  ...policiesOf(event).flatMap(policyNamespaces),
  ...(event.seenBy === 'waypoint' ? [waypointNamespace(event)] : []),
];

const waypointNamespace = ({ reporter }: TapEvent): string => reporter.slice(0, reporter.indexOf('/'));

/** The namespace in which the event was seen: of the pod at whose node, or of the waypoint. */
function seenIn(event: TapEvent): string {
  if (event.seenBy === 'waypoint') return waypointNamespace(event);
  return (event.seenBy === 'source' ? event.source : event.destination).namespace;
}

/**
 * An event as a reader of some namespaces sees it. Of a peer elsewhere it has what the reader's own pods see of it: namespace, identity, and the
 * Service that they dial. Workloads, pods, nodes, waypoints and policies of the other namespace are not named, nor reasons, which may name them.
 * Of a waypoint elsewhere the namespace is named: what it reports about others is its word, and the reader has to know whose.
 */
export function tapEventForReader(
  event: TapEvent,
  known: ReadonlySet<string>,
  rootNamespace: string,
): TapEvent {
  const isKnown = (namespace: string): boolean => namespace === '' || known.has(namespace);
  const party = <T extends TapParty>(of: T): T =>
    isKnown(of.namespace) ? of : { ...of, workload: '', pod: '' };
  const isNamed = policiesOf(event)
    .flatMap(policyNamespaces)
    .every((one) => one === rootNamespace || known.has(one));
  const isSeenHere = isKnown(seenIn(event));
  const isAllKnown =
    isNamed && isSeenHere && isKnown(event.source.namespace) && isKnown(event.destination.namespace);
  const { policy, audited, why, ...rest } = event;
  return {
    ...rest,
    source: party(event.source),
    destination: party(event.destination),
    ...(isSeenHere
      ? {}
      : { reporter: event.seenBy === 'waypoint' ? `${waypointNamespace(event)}/*` : '', id: '' }),
    ...(isNamed && policy !== undefined ? { policy } : {}),
    ...(isNamed && audited !== undefined ? { audited } : {}),
    ...(isAllKnown && why !== undefined ? { why } : {}),
  };
}

/**
 * Namespaces whose workloads or policies a filter names: a reader who may not know them would find out by what matches.
 * @param rootNamespace its policies are named to every reader
 */
export const namespacesOfFilter = (
  { workloads = [], policies = [] }: TapFilter,
  rootNamespace: string,
): readonly string[] => {
  const of = (name: string): string => name.slice(0, name.indexOf('/'));
  return [...new Set([...workloads.map(of), ...policies.map(of).filter((one) => one !== rootNamespace)])];
};
