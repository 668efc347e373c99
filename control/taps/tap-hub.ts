/**
 * The taps of this replica: which are on, the programs that report to it, and who reads. Programs report only what is their own, and only what
 * a tap asks for: both are checked here, since a program may be compromised.
 */
import { decodeTapEvent, encodeTapFilter, tapEventLimits } from '../../src/discovery/codec/tap.js';
import type { TapReport, TapSet } from '../../src/discovery/gen/weft.js';
import { FairLimit } from '../../src/base/fair-limit.js';
import { RateLimiter } from '../../src/base/rate-limiter.js';
import type { EdgeParty } from '../../src/model/edge.js';
import type { TapEvent } from '../../src/model/mesh-snapshot.js';
import { compileTapFilter, subjectOfEvent, type TapQuery, type TapSubject } from '../../src/model/tap.js';
import type { Caller } from '../authentication/authenticator.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import { mayReport, type EdgeRegistry } from '../edges/may-report.js';
import { TapQueue } from './tap-queue.js';
import type { TapReader } from './tap-reader.js';

const tapHubLimits = {
  /** Taps of this replica's own readers. One reader gets half of it, one namespace's readers two thirds (FairLimit). */
  readersMax: 32,
  /** Taps of the readers of other replicas. */
  watchersMax: 64,
  /** Events of one program that are looked at. Further ones are lost. */
  perProgram: { perSecond: 4_000, burst: 8_000 },
  /** Programs end all taps after this time without a message. */
  leaseMs: 30_000,
} as const;

/** Sends all taps that are on to a program that reports. The last set counts, if the program is slow. */
type SendTaps = (set: TapSet) => void;

/** An open tap. */
export interface TapReading {
  readonly queue: TapQueue;
  close(): void;
}

interface Reader {
  readonly query: TapQuery;
  readonly matches: (subject: TapSubject) => boolean;
  readonly queue: TapQueue;
}

export type RefusedTapEvent = 'undecodable' | 'not-its-own' | 'not-asked-for';

export interface TapHubParts {
  readonly registry: EdgeRegistry;
  readonly onRefused: (why: RefusedTapEvent, events: number) => void;
  readonly onLost: (events: number) => void;
  readonly onLimit: (limit: string) => void;
}

/** Who reports, as readers see it: a node's name, or `NAMESPACE/NAME` of a waypoint. */
function reporterOf(caller: string): string {
  const waypoint = waypointOfCaller(caller);
  return waypoint ? `${waypoint.namespace}/${waypoint.name}` : caller;
}

/** The event with its destination as the control plane names it. */
function withDestination(event: TapEvent, { namespace, workload, pod, identity }: EdgeParty): TapEvent {
  const { service, port } = event.destination;
  const destination = {
    namespace,
    workload,
    pod,
    ...(identity === undefined ? {} : { identity }),
    ...(service === undefined ? {} : { service }),
    port,
  };
  return { ...event, destination };
}

export class TapHub {
  readonly #readers = new Map<number, Reader>();
  readonly #programs = new Set<SendTaps>();
  readonly #shares = {
    reader: new FairLimit(tapHubLimits.readersMax),
    watcher: new FairLimit(tapHubLimits.watchersMax),
  };
  readonly #rates = new RateLimiter(tapHubLimits.perProgram);
  #number = 0;
  #renewals: NodeJS.Timeout | undefined;

  constructor(private readonly parts: TapHubParts) {}

  /** Open taps: of own readers, and of those of other replicas. */
  get size(): number {
    return this.#readers.size;
  }

  get programs(): number {
    return this.#programs.size;
  }

  /**
   * Opens a tap; undefined: a limit is reached.
   * @param reader whose share of the taps it uses
   */
  open(
    query: TapQuery,
    { user, group }: TapReader,
    kind: 'reader' | 'watcher' = 'reader',
  ): TapReading | undefined {
    const shares = this.#shares[kind];
    if (shares.take(user, group) !== undefined) {
      this.parts.onLimit('control-taps');
      return undefined;
    }
    const number = (this.#number = (this.#number + 1) >>> 0);
    const queue = new TapQueue();
    this.#readers.set(number, { query, matches: compileTapFilter(query.filter), queue });
    this.#announce();
    let isOpen = true;
    return {
      queue,
      close: () => {
        if (!isOpen) return;
        isOpen = false;
        shares.release(user, group);
        this.#readers.delete(number);
        queue.end('it was closed');
        this.#announce();
      },
    };
  }

  /** Adds a program; call the function that is returned when its stream has ended. */
  attach(send: SendTaps): () => void {
    this.#programs.add(send);
    if (this.#readers.size > 0) send(this.#set());
    return () => void this.#programs.delete(send);
  }

  /** @param caller authenticated */
  report(caller: Pick<Caller, 'name' | 'namespaces'>, { events, lost }: TapReport): void {
    const counts = new Map(
      lost.slice(0, tapEventLimits.tapsMax).map(({ tap, events: count }) => [tap, count]),
    );
    for (const [tap, count] of counts) this.#lose(tap, Math.min(count, tapEventLimits.lostPerReportMax));
    const refused: Record<RefusedTapEvent, number> = {
      undecodable: 0,
      'not-its-own': 0,
      'not-asked-for': 0,
    };
    for (const { taps, event: encoded } of events) {
      const wanted = taps.slice(0, tapEventLimits.tapsMax);
      // The tap may have ended meanwhile.
      if (!wanted.some((number) => this.#readers.has(number))) continue;
      if (!this.#rates.take(caller.name)) {
        this.parts.onLimit('control-tap-events');
        for (const number of new Set(wanted)) this.#lose(number, 1);
        continue;
      }
      const why = this.#deliver(caller, wanted, encoded);
      if (why !== undefined) refused[why]++;
    }
    for (const why of ['undecodable', 'not-its-own', 'not-asked-for'] as const)
      if (refused[why] > 0) this.parts.onRefused(why, refused[why]);
  }

  #deliver(
    caller: Pick<Caller, 'name' | 'namespaces'>,
    taps: readonly number[],
    encoded: TapReport['events'][number]['event'],
  ): RefusedTapEvent | undefined {
    const decoded = decodeTapEvent(encoded);
    if (!decoded) return 'undecodable';
    const event: TapEvent = { ...decoded, reporter: reporterOf(caller.name) };
    const destination = { ...event.destination, identity: decoded.destination.identity as never };
    const reported = mayReport(
      caller,
      {
        reporter: decoded.seenBy,
        source: { ...event.source, identity: decoded.source.identity as never },
        destination,
        service: event.destination.service ?? '',
        port: event.destination.port,
        path: event.path,
        method: '',
        pathTemplate: '',
        policy: '',
      },
      this.parts.registry,
    );
    if (!reported) return 'not-its-own';
    const subject = subjectOfEvent(event);
    const isAsReported = reported.destination === destination;
    const shown = isAsReported ? event : withDestination(event, reported.destination);
    const shownSubject = isAsReported ? subject : subjectOfEvent(shown);
    let isWanted = false;
    for (const number of new Set(taps)) {
      const reader = this.#readers.get(number);
      if (reader?.matches(subject) !== true) continue;
      isWanted = true;
      if (isAsReported || reader.matches(shownSubject)) reader.queue.push(shown);
    }
    return isWanted ? undefined : 'not-asked-for';
  }

  #lose(tap: number, events: number): void {
    this.#readers.get(tap)?.queue.lose(events);
    if (this.#readers.has(tap)) this.parts.onLost(events);
  }

  #set(): TapSet {
    return {
      taps: [...this.#readers].map(([number, { query }]) => ({
        number,
        filter: encodeTapFilter(query.filter),
        sampleOf: query.sampleOf,
      })),
      leaseMs: tapHubLimits.leaseMs,
    };
  }

  /** Sends all programs the taps that are on, again and again while there is one. */
  #announce(): void {
    clearInterval(this.#renewals);
    this.#renewals = undefined;
    const send = (): void => {
      const set = this.#set();
      for (const sendTo of this.#programs) sendTo(set);
    };
    send();
    if (this.#readers.size > 0) this.#renewals = setInterval(send, tapHubLimits.leaseMs / 3).unref();
  }

  stop(): void {
    clearInterval(this.#renewals);
    for (const { queue } of this.#readers.values()) queue.end('the control plane is shutting down');
  }
}
