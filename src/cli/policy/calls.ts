/**
 * Calls: who calls what, from the edges that several programs reported of the same traffic. Agents of both sides report a connection, and a
 * waypoint between them its requests. Pure.
 */
import { isOtherParty, policyNames, type Edge, type EdgeParty, type EdgeReporter } from '../../model/edge.js';
import type { SpiffeId } from '../../model/identity.js';

export interface CallParty {
  readonly namespace: string;
  readonly workload: string;
  readonly identity: SpiffeId | undefined;
  /** Empty: too many, or none is known. */
  readonly pods: ReadonlySet<string>;
  /** Names beyond the limits of what programs observe: it is unknown who this is. */
  readonly isOther: boolean;
}

export interface Call {
  readonly source: CallParty;
  readonly destination: CallParty;
  /** Host names of the Services that were dialed. */
  readonly services: ReadonlySet<string>;
  /** Of the destination's pod; of the Service if no pod is known; 0: unknown. */
  readonly port: number;
  /** Whether a waypoint has read the requests. */
  readonly isRequest: boolean;
  /** Empty for connections, like `pathTemplate`. */
  readonly method: string;
  readonly pathTemplate: string;
  /** Connections, or requests, that passed. One if all that was seen is a connection that was opened earlier. */
  readonly passed: number;
  readonly refused: number;
  /** Of those that passed: policies in audit mode would have refused them. */
  readonly audited: number;
  /** Policies that refused, or would have. */
  readonly policies: ReadonlySet<string>;
  /** By which paths connections went (`kernel`, `hbone`, `waypoint`, ...). */
  readonly paths: ReadonlySet<string>;
  readonly lastSeenMs: number;
}

const podsMax = 32;

interface Counts {
  passed: number;
  refused: number;
  audited: number;
}

/** Sets of one name, each made once: most calls have one Service and one path, and there may be a million of them. */
const singles = new Map<string, ReadonlySet<string>>();
const singlesMax = 100_000;
const none: ReadonlySet<string> = new Set();
function single(name: string): ReadonlySet<string> {
  let found = singles.get(name);
  if (!found) {
    if (singles.size >= singlesMax) singles.clear();
    singles.set(name, (found = new Set([name])));
  }
  return found;
}

/** A set of names that is usually empty, or has one. */
class Names {
  #first: string | undefined;
  #more: Set<string> | undefined;

  add(name: string): void {
    if (name === '' || name === this.#first) return;
    if (this.#first === undefined) this.#first = name;
    else (this.#more ??= new Set([this.#first])).add(name);
  }
  get all(): ReadonlySet<string> {
    return this.#more ?? (this.#first === undefined ? none : single(this.#first));
  }
}

class Building {
  readonly #sourcePods = new Names();
  readonly #pods = new Names();
  readonly #services = new Names();
  readonly #policies = new Names();
  readonly #paths = new Names();
  readonly #counts: Partial<Record<EdgeReporter, Counts>> = {};
  #lastSeenMs = 0;
  /** Seen, and opened earlier: a connection that is still open. */
  #isOpen = false;
  constructor(readonly first: Edge) {}

  add({ source, destination, service, policy, path, reporter, counts }: Edge): void {
    this.#sourcePods.add(source.pod);
    this.#pods.add(destination.pod);
    this.#services.add(service);
    for (const name of policyNames(policy)) this.#policies.add(name);
    if (path !== 'refused') this.#paths.add(path);
    const sums = (this.#counts[reporter] ??= { passed: 0, refused: 0, audited: 0 });
    // Requests that were refused count as requests, too; connections that were do not. Failed requests without an endpoint, such as those of a
    // rule that cannot be read, were ended by the waypoint itself.
    const total = isRequest({ reporter, method: this.first.method })
      ? Math.max(0, counts.requests - counts.refused - (hasEndpoint(destination) ? 0 : counts.failures))
      : counts.connections;
    sums.passed += total;
    if (total + counts.refused + counts.failures === 0 && path !== 'refused') this.#isOpen = true;
    sums.refused += counts.refused;
    sums.audited += counts.audited;
    this.#lastSeenMs = Math.max(this.#lastSeenMs, counts.lastSeenMs);
  }

  get call(): Call {
    const { source, destination, port, method, pathTemplate } = this.first;
    const all = Object.values(this.#counts);
    const most = (field: keyof Counts): number => Math.max(...all.map((one) => one[field]));
    return {
      source: partyOf(source, this.#sourcePods.all),
      destination: partyOf(destination, this.#pods.all),
      services: this.#services.all,
      port,
      isRequest: isRequest(this.first),
      method,
      pathTemplate,
      passed: Math.max(most('passed'), this.#isOpen ? 1 : 0),
      refused: most('refused'),
      audited: most('audited'),
      policies: this.#policies.all,
      paths: this.#paths.all,
      lastSeenMs: this.#lastSeenMs,
    };
  }
}

const isRequest = ({ reporter, method }: Pick<Edge, 'reporter' | 'method'>): boolean =>
  reporter === 'waypoint' && method !== '';

const hasEndpoint = ({ workload, pod }: EdgeParty): boolean => workload !== '' || pod !== '';

const isOther = (party: EdgeParty): boolean => isOtherParty(party) && party.namespace !== '';

const partyOf = (party: EdgeParty, pods: ReadonlySet<string>): CallParty => ({
  namespace: party.namespace,
  workload: party.workload,
  identity: party.identity,
  pods: pods.size > podsMax ? new Set() : pods,
  isOther: isOther(party),
});

/** A key of texts, each with its length: other texts never have the same key. */
function keyOf(...parts: readonly (string | undefined)[]): string {
  let key = '';
  for (const part of parts) key += part === undefined ? '-' : `${part.length}:${part}`;
  return key;
}
const partyKey = (party: EdgeParty): string =>
  keyOf(party.namespace, party.workload, party.identity, isOther(party) ? '' : undefined);
const connectionKey = ({ source, destination, port }: Edge): string =>
  keyOf(source.identity, destination.namespace, destination.workload, String(port));
/** Whether the edge is a client's connection to a waypoint: the client knows only the Service. */
const isToService = ({ destination: { workload, pod }, service, path, counts }: Edge): boolean =>
  workload === '' &&
  pod === '' &&
  service !== '' &&
  path !== 'refused' &&
  counts.refused + counts.audited === 0;
const serviceKey = ({ source, service }: Edge): string => keyOf(source.identity, service);

/** Adds up edges to calls. Connections whose requests a waypoint has reported are left out: the requests say more. */
export function callsOf(edges: readonly Edge[]): Call[] {
  const ofWaypoints = new Set<string>();
  for (const edge of edges) if (isRequest(edge)) ofWaypoints.add(connectionKey(edge)).add(serviceKey(edge));
  const isReported = (edge: Edge): boolean =>
    ofWaypoints.has(connectionKey(edge)) || (isToService(edge) && ofWaypoints.has(serviceKey(edge)));
  const found = new Map<string, Building>();
  for (const edge of edges) {
    if (!isRequest(edge) && edge.reporter !== 'waypoint' && isReported(edge)) continue;
    const key =
      partyKey(edge.source) +
      partyKey(edge.destination) +
      // A Service's policies are those of its waypoint.
      keyOf(String(edge.port), edge.method, edge.pathTemplate, isRequest(edge) ? edge.service : undefined);
    let call = found.get(key);
    if (!call) found.set(key, (call = new Building(edge)));
    call.add(edge);
  }
  return [...found.values()].map(({ call }) => call).filter((one) => one.passed + one.refused > 0);
}

/** `shop/web (spiffe://…)`: a party for people. */
export function partyText({ namespace, workload, identity, isOther: unknown }: CallParty): string {
  if (unknown) return 'other (beyond the limits)';
  if (namespace === '' && workload === '') return identity ?? 'outside of the mesh';
  return `${namespace}/${workload}`;
}
/** The identity of a party for people, without `spiffe://`. */
export const identityText = ({ identity, isOther: unknown }: CallParty): string =>
  unknown ? 'unknown' : identity === undefined ? 'none (plaintext)' : identity.slice('spiffe://'.length);

/** `GET /orders/*`, or empty. */
export const requestText = ({ method, pathTemplate }: Call): string =>
  method === '' ? '' : `${method} ${pathTemplate}`;
