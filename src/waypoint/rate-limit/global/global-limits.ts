/**
 * The global rate limits of a worker: its leases, and the rate limit services that grant them. They are apart from the filters that use
 * them, so that leases survive changes of configuration. The number of leases is bounded, because clients choose keys.
 */
import { performance } from 'node:perf_hooks';
import { FairLimit } from '../../../base/fair-limit.js';
import type { RateLimitDescriptor_Entry as DescriptorEntry } from '../../../discovery/gen/ratelimit.js';
import type { BackendTarget, RouteFilter } from '../../../model/route.js';
import type { ServicePort } from '../../authorization/reachable.js';
import type { Client } from '../../listener/client.js';
import type { WaypointLimit } from '../../limits.js';
import { Lease, type LeaseResult, type LimitConfig, type Waiter } from './lease.js';
import { LeaseTable } from './lease-table.js';
import type { RateLimitService } from './service.js';
import { Shield } from './shield.js';

const globalLimits = {
  leasesMax: 65_536,
  /** Requests that wait for a lease. */
  waitingMax: 8_192,
} as const;
/** Name of Weft's own service in the log. */
const ownName = 'rate-limiter';
/** A limit or a lease that no request has used for this long is forgotten. Longer than Prometheus' lookback, since counts go with it. */
const idleMsMax = 15 * 60_000;
const leaseIdleMsMax = 60_000;

/** What a service has said about the requests of one Service port, as Envoy counts it. */
export interface GlobalCounts {
  ok: number;
  overLimit: number;
  /** Requests without a decision of the service. */
  error: number;
  /** Of these, requests that were let through. */
  failureModeAllowed: number;
}

/** A service of the mesh that counts, and the domain of its limits. */
export interface MeshService {
  readonly target: Extract<BackendTarget, { readonly kind: 'service' }>;
  readonly domain: string;
}

export interface LimitOptions extends LimitConfig {
  /** The policy and its part. */
  readonly name: string;
  /** What the limit counts by, as text: hits by other keys mean something else. */
  readonly keys: string;
  readonly timeoutMs: number;
  /** Undefined: Weft's own service. */
  readonly service: MeshService | undefined;
}

interface GlobalLimitsOptions {
  /** Connects to Weft's own service; undefined: this waypoint has none. */
  readonly own: (() => RateLimitService) | undefined;
  readonly ofMesh: (target: MeshService['target']) => RateLimitService;
  readonly onLimitReached: (limit: WaypointLimit) => void;
  readonly onService: (service: string, failure: string | undefined) => void;
  readonly now?: () => number;
}

/** One limit at one Service port. */
export class GlobalLimit {
  readonly leases = new Map<string, Lease>();
  readonly counts: GlobalCounts = { ok: 0, overLimit: 0, error: 0, failureModeAllowed: 0 };
  usedAtMs = 0;
  /** No longer counted: ask for it again. */
  isForgotten = false;

  constructor(
    readonly servicePort: ServicePort,
    public options: LimitOptions,
    /** Undefined: there is no service, so every decision fails. */
    readonly shield: Shield | undefined,
  ) {}
}

/** A request that waits. `cancel` gives up its place; the promise is not settled then. */
export interface Waiting {
  readonly result: Promise<LeaseResult>;
  cancel(): void;
}

export class GlobalLimits {
  readonly #limits = new Map<string, GlobalLimit>();
  readonly #table: LeaseTable;
  readonly #waiting = new FairLimit(globalLimits.waitingMax);
  readonly #shields = new Map<string, Shield>();
  readonly #now: () => number;
  #isMissingReported = false;

  constructor(private readonly options: GlobalLimitsOptions) {
    this.#now = options.now ?? (() => performance.now());
    this.#table = new LeaseTable(globalLimits.leasesMax, () => options.onLimitReached('rate-limit-leases'));
  }

  /** The limits, for metrics. */
  [Symbol.iterator](): Iterator<GlobalLimit> {
    return this.#limits.values();
  }

  /** Connects to Weft's own service, if filters of a Service port need it. */
  prepare(filters: readonly RouteFilter[]): void {
    if (!filters.some((one) => one.$case === 'globalRateLimit' && !one.value.service)) return;
    const shield = this.#shieldOf(undefined);
    if (shield) return shield.connect();
    if (this.#isMissingReported) return;
    this.#isMissingReported = true;
    this.options.onService(ownName, 'this waypoint was started without --rate-limiter');
  }

  get leases(): number {
    return this.#table.size;
  }

  /** The limit at a Service port. Callers keep it while it is not forgotten, and ask again when their options change. */
  of(servicePort: ServicePort, options: LimitOptions): GlobalLimit {
    const { service, port } = servicePort;
    const { name, keys, unit, service: by } = options;
    const id = JSON.stringify([service, port, name, keys, unit, by && [shieldName(by), by.domain]]);
    let limit = this.#limits.get(id);
    if (!limit) {
      limit = new GlobalLimit(servicePort, options, this.#shieldOf(by));
      this.#limits.set(id, limit);
    } else if (limit.options.requests !== options.requests)
      // Leases survive: the counts of the service do, too.
      for (const lease of limit.leases.values()) lease.configure(options);
    limit.options = options;
    limit.usedAtMs = this.#now();
    return limit;
  }

  /**
   * Decides one request. A promise: it has to wait for a lease.
   * @param key the values of the keys as one text
   * @param entriesOf the descriptor of the key
   */
  check(
    limit: GlobalLimit,
    key: string,
    client: Client,
    entriesOf: () => readonly DescriptorEntry[],
  ): LeaseResult | Waiting {
    const nowMs = (limit.usedAtMs = this.#now());
    const { shield, options } = limit;
    if (!shield) return 'failed';
    let lease = limit.leases.get(key);
    if (!lease || (lease.isOfOwner && lease.owner !== client.name)) {
      const { service, port } = limit.servicePort;
      // A domain of its own for each port: a key of one port is no key of another.
      const domain = options.service?.domain ?? `${service}:${port}`;
      lease = new Lease(domain, entriesOf(), options, client.name);
      this.#table.add(limit.leases, key, lease);
    }
    const result = lease.take(nowMs);
    if (result !== undefined) {
      if (lease.isLow && !lease.isAsking) shield.ask(lease);
      return result;
    }
    if (shield.isLate(nowMs, options.timeoutMs)) return 'failed';
    return this.#wait(lease, shield, options.timeoutMs, client);
  }

  #wait(lease: Lease, shield: Shield, timeoutMs: number, { name, group }: Client): LeaseResult | Waiting {
    if (this.#waiting.take(name, group) !== undefined) {
      this.options.onLimitReached('rate-limit-waiting');
      return 'failed';
    }
    let cancel = (): void => undefined;
    const result = new Promise<LeaseResult>((resolve) => {
      const leave = (): void => {
        clearTimeout(timer);
        lease.waiters.delete(end);
        this.#waiting.release(name, group);
      };
      const end: Waiter = (how) => {
        leave();
        resolve(how);
      };
      const timer = setTimeout(() => {
        shield.onTimeout(timeoutMs);
        end('failed');
      }, timeoutMs);
      cancel = () => {
        if (lease.waiters.has(end)) leave();
      };
      lease.waiters.add(end);
      shield.ask(lease);
    });
    return { result, cancel };
  }

  /** Forgets what is not in use. Called about once a second. */
  sweep(): void {
    const nowMs = this.#now();
    this.#table.sweep((lease) => nowMs - lease.usedAtMs > leaseIdleMsMax && lease.waiters.size === 0);
    for (const [id, limit] of this.#limits) {
      if (nowMs - limit.usedAtMs < idleMsMax) continue;
      limit.isForgotten = true;
      this.#table.removeAll(limit.leases);
      this.#limits.delete(id);
    }
    const used = new Set([...this.#limits.values()].map(({ shield }) => shield));
    for (const [name, shield] of this.#shields) {
      if (name === ownName) {
        // With the waypoint's first certificate, or a renewed one.
        shield.connect();
        continue;
      }
      if (used.has(shield)) continue;
      shield.close();
      this.#shields.delete(name);
    }
  }

  close(): void {
    for (const shield of this.#shields.values()) shield.close();
  }

  #shieldOf(by: MeshService | undefined): Shield | undefined {
    const { own, ofMesh, onService } = this.options;
    if (!by && !own) return undefined;
    const name = shieldName(by);
    const known = this.#shields.get(name);
    if (known) return known;
    const service = by ? ofMesh(by.target) : own?.();
    if (!service) return undefined;
    const shield = new Shield(service, {
      onFailure: (why) => onService(name, why),
      onRecovery: () => onService(name, undefined),
    });
    this.#shields.set(name, shield);
    return shield;
  }
}

const shieldName = (by: MeshService | undefined): string =>
  by ? `${by.target.service}:${by.target.port}` : ownName;
