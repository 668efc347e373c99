/**
 * What the workers of a waypoint tell each other about endpoints: ejections, failed health checks, and that a Service is used. Each process
 * has a copy; the main process passes changes on, and gives them to new workers. Bounded.
 */
import { performance } from 'node:perf_hooks';
import type { ServiceKey } from '../../model/workload.js';
import type { SharedEjection } from './outlier/detector.js';
import type { EjectionKind } from './outlier/monitor.js';

/** Endpoints about which something is kept. */
const endpointsMax = 65_536;

interface Ejected extends SharedEjection {
  readonly what: 'ejected';
  readonly kind: EjectionKind;
  /** Until the ejection's end. */
  readonly leftMs: number;
}

export interface HealthChange {
  readonly service: ServiceKey;
  readonly port: number;
  /** Its key (`endpointKey`); empty: the Service's port itself. */
  readonly endpoint: string;
  readonly change:
    | Ejected
    | { readonly what: 'returned' }
    | { readonly what: 'checked'; readonly failure: string | undefined }
    /** Of no endpoint: the Service got its first request. */
    | { readonly what: 'used' };
}

/** What is kept about one endpoint. */
interface Known {
  readonly of: Omit<HealthChange, 'change'>;
  ejected: Omit<Ejected, 'leftMs' | 'agoMs'> | undefined;
  ejectedMs: number;
  ejectionEndsMs: number;
  /** The health check that fails; undefined: none does. */
  failure: string | undefined;
  isUsed: boolean;
}

export class SharedHealth {
  readonly #known = new Map<string, Known>();

  constructor(
    private readonly now: () => number = () => performance.now(),
    private readonly max = endpointsMax,
  ) {}

  get size(): number {
    return this.#known.size;
  }

  apply({ change, ...of }: HealthChange): void {
    const name = nameOf(of);
    const known = this.#known.get(name) ?? {
      of,
      ejected: undefined,
      ejectedMs: 0,
      ejectionEndsMs: 0,
      failure: undefined,
      isUsed: false,
    };
    if (change.what === 'ejected') {
      const { leftMs, agoMs, ...ejected } = change;
      known.ejected = ejected;
      known.ejectedMs = this.now() - agoMs;
      known.ejectionEndsMs = this.now() + leftMs;
    } else if (change.what === 'returned') known.ejected = undefined;
    else if (change.what === 'used') known.isUsed = true;
    else known.failure = change.failure;
    this.#known.delete(name);
    if (!known.ejected && known.failure === undefined && !known.isUsed) return;
    if (this.#known.size >= this.max) this.#makeRoom();
    this.#known.set(name, known);
  }

  /** The ejection of an endpoint; undefined: it is not ejected. */
  ejection(of: Omit<HealthChange, 'change'>): Ejected | undefined {
    const known = this.#known.get(nameOf(of));
    return known && this.#ejectionOf(known);
  }

  /** The health check that fails; undefined: none does, or its result is unknown. */
  failure(of: Omit<HealthChange, 'change'>): string | undefined {
    return this.#known.get(nameOf(of))?.failure;
  }

  /** A Service's port has got a request. */
  isUsed(of: Omit<HealthChange, 'change'>): boolean {
    return this.#known.get(nameOf(of))?.isUsed === true;
  }

  /** All that is known, for a new worker. */
  full(): HealthChange[] {
    return [...this.#known.values()].flatMap((known) => {
      const changes: HealthChange['change'][] = [];
      const ejected = this.#ejectionOf(known);
      if (ejected) changes.push(ejected);
      if (known.failure !== undefined) changes.push({ what: 'checked', failure: known.failure });
      if (known.isUsed) changes.push({ what: 'used' });
      return changes.map((change) => ({ ...known.of, change }));
    });
  }

  #ejectionOf({ ejected, ejectedMs, ejectionEndsMs }: Known): Ejected | undefined {
    const nowMs = this.now();
    if (!ejected || ejectionEndsMs <= nowMs) return undefined;
    return { ...ejected, agoMs: nowMs - ejectedMs, leftMs: ejectionEndsMs - nowMs };
  }

  /** Forgets ejections that are over, else the oldest entry. */
  #makeRoom(): void {
    for (const [name, known] of this.#known)
      if (known.failure === undefined && !known.isUsed && !this.#ejectionOf(known)) this.#known.delete(name);
    if (this.#known.size < this.max) return;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
  }
}

const nameOf = ({ service, port, endpoint }: Omit<HealthChange, 'change'>): string =>
  `${service}:${port} ${endpoint}`;
