/**
 * The endpoints of a cluster by level, and which of them may be used now. Without a locality policy all requests go to the nearest level.
 * With one, levels share the requests by their health (priority-load.ts). Computed when endpoints or their health change, not per request.
 */
import { performance } from 'node:perf_hooks';
import { mix32 } from '../../base/hash.js';
import type { Balancer } from './balancer/balancer.js';
import type { Balancers } from './balancer/new-balancer.js';
import type { Endpoint } from './endpoint.js';
import { isEjected } from './endpoint-health.js';
import { priorityLoads, type FailoverConfig } from './priority-load.js';

/** Endpoints that a request has tried. */
export interface Excluded {
  readonly endpoints: ReadonlySet<Endpoint>;
  /** Whether one of these may be picked if there is no other endpoint. */
  readonly mayRepeat: boolean;
}

export interface Level {
  readonly members: readonly Endpoint[];
  /** Those that requests go to now. The same array while nothing changes. */
  usable: readonly Endpoint[];
  healthy: number;
  /** Share of the cluster's requests, in percent. */
  load: number;
  /** All members are used, because too few are healthy. */
  isPanicking: boolean;
  readonly balancer: Balancer;
}

/** Whether requests may be sent to an endpoint, by all that observes its health. */
const isUsable = (endpoint: Endpoint, nowMs: number): boolean => !isEjected(endpoint.health, nowMs);

export class Levels {
  /** The nearest first. No level is empty. */
  #levels: readonly Level[] = [];
  #failover: FailoverConfig | undefined;
  /** Until when `usable` and `load` hold: an ejection ends then. */
  #validUntilMs = 0;
  #reachable: readonly Endpoint[] = none;
  /** Picks: in a level that panics; in the nearest level, and in others. */
  readonly counts = { panic: 0, nearest: 0, further: 0 };

  constructor(private balancers: Balancers) {}

  get all(): readonly Level[] {
    return this.#levels;
  }

  /** The endpoints that requests may go to: those of the nearest level, or of all levels if a policy lets requests go on to others. */
  get reachable(): readonly Endpoint[] {
    return this.#reachable;
  }

  /** Why an endpoint is used that would not be if all were healthy; undefined: it would be. */
  reasonFor({ priority }: Endpoint): 'panic' | 'failover' | undefined {
    if (this.#levels[priority]?.isPanicking === true) return 'panic';
    return priority > 0 ? 'failover' : undefined;
  }

  /** Whether requests for this endpoint in particular may go to it: it is healthy, or too few of its level are. */
  mayUse(endpoint: Endpoint): boolean {
    this.refresh();
    return isUsable(endpoint, performance.now()) || this.#levels[endpoint.priority]?.isPanicking === true;
  }

  update(levels: readonly (readonly Endpoint[])[]): void {
    const before = this.#levels;
    this.#levels = levels.map((members, i) => levelOf(members, before[i]?.balancer ?? this.balancers.make()));
    this.changed();
  }

  configure(balancers: Balancers, failover: FailoverConfig | undefined): void {
    if (balancers.key !== this.balancers.key) {
      this.balancers = balancers;
      this.#levels = this.#levels.map(({ members }) => levelOf(members, balancers.make()));
    }
    this.#failover = failover;
    this.changed();
  }

  /** Endpoints were replaced, or the health of one has changed. */
  changed(): void {
    this.#validUntilMs = 0;
    const [first] = this.#levels;
    this.#reachable = this.#failover
      ? this.#levels.flatMap(({ members }) => members)
      : (first?.members ?? none);
  }

  /** The level for one request. Undefined: there is no endpoint. */
  choose(hash: number | undefined): Level | undefined {
    this.refresh();
    const [first] = this.#levels;
    if (!first || first.load === 100) return first;
    // The key's position in tables comes from other bits.
    let part = hash === undefined ? Math.random() * 100 : mix32(hash ^ 0x5bd1e995) % 100;
    for (const level of this.#levels) {
      part -= level.load;
      if (part < 0) return level;
    }
    return first;
  }

  /** Picks an endpoint; undefined: there is none that may be used. */
  pick(hash: number | undefined, excluded: Excluded | undefined): Endpoint | undefined {
    const level = this.choose(hash);
    if (!level) return undefined;
    if (!excluded) return this.#choose(level, level.usable, hash);
    let found = this.#without(level, excluded);
    let from = level;
    if (this.#failover && !this.#isUntried(found, excluded)) {
      // An endpoint of another level that was not tried comes before a tried one.
      for (const other of this.#levels) {
        const more = this.#without(other, excluded);
        if (!this.#isUntried(more, excluded)) continue;
        found = more;
        from = other;
        break;
      }
    }
    return this.#choose(from, found, hash);
  }

  #choose(level: Level, from: readonly Endpoint[], hash: number | undefined): Endpoint | undefined {
    if (level.isPanicking) this.counts.panic++;
    if (level === this.#levels[0]) this.counts.nearest++;
    else this.counts.further++;
    return level.balancer.choose(from, hash, level.members);
  }

  /** Whether `pick` would return an endpoint that was not tried. */
  hasOther(excluded: Excluded): boolean {
    this.refresh();
    const levels = this.#failover ? this.#levels : this.#levels.slice(0, 1);
    return levels.some((level) => this.#isUntried(this.#without(level, excluded), excluded));
  }

  /** Recomputes what an update, an observation or the end of an ejection has changed. */
  refresh(): void {
    if (this.#validUntilMs === Infinity) return;
    const nowMs = performance.now();
    if (nowMs < this.#validUntilMs) return;
    this.#validUntilMs = Infinity;
    for (const level of this.#levels) this.#find(level, nowMs);
    const failover = this.#failover;
    if (!failover) return this.#useNearest(nowMs);
    const loads = priorityLoads(
      this.#levels.map(({ members, healthy }) => ({ total: members.length, healthy })),
      failover,
    );
    this.#levels.forEach((level, i) => {
      const { load = 0, isPanicking = false } = loads[i] ?? {};
      level.load = load;
      level.isPanicking = isPanicking;
      if (isPanicking) level.usable = level.members;
    });
  }

  /** Finds the healthy members of a level. */
  #find(level: Level, nowMs: number): void {
    const { members } = level;
    let healthy: Endpoint[] | undefined;
    members.forEach((endpoint, i) => {
      if (isUsable(endpoint, nowMs)) return void healthy?.push(endpoint);
      healthy ??= members.slice(0, i);
      // Other ends of ejections, and health checks, are reported by `changed`.
      const { ejectedUntilMs } = endpoint.health;
      if (ejectedUntilMs > nowMs) this.#validUntilMs = Math.min(this.#validUntilMs, ejectedUntilMs);
    });
    level.usable = healthy ?? members;
    level.healthy = level.usable.length;
  }

  /** Without a locality policy: if all of the nearest level are ejected, those with the fewest failures are used. The last endpoint stays. */
  #useNearest(nowMs: number): void {
    this.#levels.forEach((level, i) => {
      level.load = i === 0 ? 100 : 0;
      level.isPanicking = level.usable.length === 0;
      if (level.isPanicking) level.usable = best(level.members, undefined, nowMs);
    });
  }

  /** The endpoints of a level that a further attempt may go to. */
  #without(level: Level, excluded: Excluded): readonly Endpoint[] {
    if (!this.#failover) return best(level.members, excluded, performance.now());
    const untried = level.usable.filter((one) => !excluded.endpoints.has(one));
    return untried.length > 0 || !excluded.mayRepeat ? untried : level.usable;
  }

  /** All endpoints that `#without` returns have the same rank: either all of them were tried, or none. */
  #isUntried([first]: readonly Endpoint[], excluded: Excluded): boolean {
    return first !== undefined && !excluded.endpoints.has(first);
  }
}

const none: readonly Endpoint[] = [];

const levelOf = (members: readonly Endpoint[], balancer: Balancer): Level => ({
  members,
  usable: members,
  healthy: members.length,
  load: 0,
  isPanicking: false,
  balancer,
});

/**
 * The endpoints of the best rank: those that are not ejected and were not tried; those that were tried; those that are ejected, by their
 * number of failures.
 */
function best(endpoints: readonly Endpoint[], excluded: Excluded | undefined, nowMs: number): Endpoint[] {
  let found: Endpoint[] = [];
  let lowest = Infinity;
  for (const endpoint of endpoints) {
    const isTried = excluded?.endpoints.has(endpoint) === true;
    if (isTried && !excluded.mayRepeat) continue;
    const rank =
      (isUsable(endpoint, nowMs) ? 0 : 2 * Math.max(1, endpoint.health.failures)) + (isTried ? 1 : 0);
    if (rank > lowest) continue;
    if (rank < lowest) found = [];
    lowest = rank;
    found.push(endpoint);
  }
  return found;
}
