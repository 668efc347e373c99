/**
 * Edges that each stand for traffic of their own. The same traffic is reported by several programs: a connection by the agents of both sides,
 * a request by the waypoint and by the agents that see it pass. Pure.
 *
 * - A connection is that of the client's agent, else that of the server's.
 * - A connection to a Service with a waypoint is that of the waypoint, which knows the endpoint.
 * - A request is the waypoint's. Of the agents, the side that has seen more requests counts: signals of requests may be on for one namespace.
 */
import { edgeKey, noCounts, isOtherParty, type Edge, type EdgeCounts } from '../../model/edge.js';
import { destinationOf, nameOf } from '../../model/party-name.js';

/** Whether requests are counted in it, and not connections. */
export const isRequestEdge = ({ method, counts }: Edge): boolean => method !== '' || counts.requests > 0;

/** Whether an edge holds what a program has observed beyond its limits. */
export const isBeyondLimits = ({ source, destination }: Edge): boolean =>
  isOtherParty(source) || isOtherParty(destination);

/** The path as the client's side names it. */
export const pathOf = ({ path }: Pick<Edge, 'path'>): string =>
  path === 'inbound-hbone' ? 'hbone' : path === 'inbound-plain' ? 'plain' : path;

/** A key of texts, each with its length: other texts never have the same key. */
const keyOf = (...parts: readonly string[]): string => parts.map((part) => `${part.length}:${part}`).join('');

/** A client whose workload is not known to one program has the identity that others name it by. */
function sourceKeys(edges: readonly Edge[]): (edge: Edge) => string {
  const identities = new Map<string, string>();
  for (const { source } of edges)
    if (source.identity !== undefined && source.workload !== '')
      identities.set(nameOf(source), source.identity);
  return ({ source }) => source.identity ?? identities.get(nameOf(source)) ?? nameOf(source);
}

/** A reader of one namespace gets no workloads of others: programs then agree on the identity, and only some know the Service. */
export const destinationKey = (edge: Edge): string =>
  edge.destination.workload === '' ? (edge.destination.identity ?? destinationOf(edge)) : destinationOf(edge);

/** What the programs reported of one client and one destination. */
class Pair {
  readonly edges: Edge[] = [];
  /** Whether the pod of the client is known to all: pods are then looked at one by one. */
  hasPods = true;

  add(edge: Edge): void {
    this.edges.push(edge);
    if (edge.source.pod === '') this.hasPods = false;
  }

  podOf = ({ source }: Edge): string => (this.hasPods ? source.pod : '');

  /** The pods of which a reporter other than the server's agent has reported. */
  get reported(): ReadonlySet<string> {
    return new Set(this.edges.filter(({ reporter }) => reporter !== 'destination').map(this.podOf));
  }
}

const requestsOf = (edges: readonly Edge[]): number =>
  edges.reduce((sum, { counts }) => sum + counts.requests, 0);

/** The edges of requests that count: the waypoint's with those that the client's agent saw elsewhere, or those of the agent that saw more. */
function requestEdges(edges: readonly Edge[]): readonly Edge[] {
  const clientSide = edges.filter(({ reporter }) => reporter !== 'destination');
  if (clientSide.some(({ reporter }) => reporter === 'waypoint')) return clientSide;
  const serverSide = edges.filter(({ reporter }) => reporter === 'destination');
  return requestsOf(serverSide) > requestsOf(clientSide) ? serverSide : clientSide;
}

const countedBy = (edges: readonly Edge[], of: 'refused' | 'audited'): boolean =>
  edges.some(({ counts }) => counts[of] > 0);

/**
 * What only the server's agent knows of connections that count as the client's: which policy refused them, and what policies in audit mode
 * would have refused.
 */
function* remarks(dropped: readonly Edge[], kept: readonly Edge[]): Generator<Edge> {
  const hasAudited = countedBy(kept, 'audited');
  for (const edge of dropped) {
    const audited = hasAudited ? 0 : edge.counts.audited;
    const [like] = kept
      .filter((one) => (one.path === 'refused') === (edge.path === 'refused') && one.port === edge.port)
      .sort((a, b) => (edgeKey(a) < edgeKey(b) ? -1 : 1));
    if (edge.policy === '' || (!like && audited === 0)) continue;
    const { path, service } = like ?? { path: pathOf(edge), service: edge.service };
    const counts = { ...noCounts, audited, lastSeenMs: edge.counts.lastSeenMs };
    yield { ...edge, path, service, method: '', pathTemplate: '', counts };
  }
}

function* edgesOfPair(pair: Pair): Generator<Edge> {
  const { reported } = pair;
  const byPod = new Map<string, Edge[]>();
  const kept: Edge[] = [];
  const dropped: Edge[] = [];
  for (const edge of pair.edges) {
    const pod = pair.podOf(edge);
    const same = byPod.get(pod);
    if (isRequestEdge(edge)) {
      if (same) same.push(edge);
      else byPod.set(pod, [edge]);
    } else if (edge.reporter === 'destination' && reported.has(pod)) dropped.push(edge);
    else kept.push(edge);
  }
  for (const edges of byPod.values()) kept.push(...requestEdges(edges));
  yield* kept;
  yield* remarks(dropped, kept);
}

const withoutRefused = ({ slots, ...counts }: EdgeCounts): EdgeCounts => ({
  ...counts,
  refused: 0,
  ...(slots ? { slots: slots.map((slot) => ({ ...slot, refused: 0 })) } : {}),
});

/** What waypoints have reported, by client and Service, or by client and workload of connections to a workload's own address. */
class Waypoints {
  readonly #all = new Set<string>();
  readonly #refusing = new Set<string>();

  constructor(
    edges: readonly Edge[],
    private readonly sourceKey: (edge: Edge) => string,
  ) {
    for (const edge of edges) {
      if (edge.reporter !== 'waypoint') continue;
      this.#all.add(this.#keyOf(edge));
      if (edge.counts.refused > 0) this.#refusing.add(this.#keyOf(edge));
    }
  }

  #keyOf(edge: Edge): string {
    const { service } = edge;
    return keyOf(this.sourceKey(edge), service, service === '' ? destinationOf(edge) : '');
  }

  /** The part of a client's edge that no waypoint has reported; undefined: none. */
  rest(edge: Edge): Edge | undefined {
    const { reporter, destination, service, path, counts } = edge;
    if (reporter !== 'source') return edge;
    // A client's agent knows the endpoint if it has chosen it: no waypoint is between them. Kernel flows never pass one.
    const mayPass = destination.workload === '' || (service === '' && path !== 'kernel');
    if (!mayPass || !this.#all.has(this.#keyOf(edge))) return edge;
    if (path !== 'refused' || isRequestEdge(edge)) return undefined;
    return this.#refusing.has(this.#keyOf(edge)) ? { ...edge, counts: withoutRefused(counts) } : edge;
  }
}

/** Ends of edges that programs know by name: what the program at the other end counted beyond its limits is a part of what they report. */
function knownEnds(edges: readonly Edge[]): (edge: Edge) => boolean {
  const known = new Set<string>();
  for (const edge of edges) {
    if (isBeyondLimits(edge)) continue;
    if (edge.reporter !== 'destination') known.add(keyOf('to', destinationOf(edge)));
    if (edge.reporter !== 'source') known.add(keyOf('from', nameOf(edge.source)));
  }
  return (edge) =>
    (edge.reporter === 'destination' && known.has(keyOf('to', destinationOf(edge)))) ||
    (edge.reporter === 'source' && known.has(keyOf('from', nameOf(edge.source))));
}

/** Each connection and request once, whoever reported it, in an order that depends on the edges alone. */
export function distinctEdges(edges: readonly Edge[]): Edge[] {
  const sourceKey = sourceKeys(edges);
  const waypoints = new Waypoints(edges, sourceKey);
  const isKnown = knownEnds(edges);
  const pairs = new Map<string, Pair>();
  for (const edge of edges) {
    if (isBeyondLimits(edge) && isKnown(edge)) continue;
    const rest = waypoints.rest(edge);
    if (!rest) continue;
    const key = keyOf(sourceKey(rest), destinationKey(rest));
    let pair = pairs.get(key);
    if (!pair) pairs.set(key, (pair = new Pair()));
    pair.add(rest);
  }
  return [...pairs.values()].flatMap((pair) => [...edgesOfPair(pair)]);
}
