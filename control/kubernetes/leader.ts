/**
 * Leader election by a Lease: only the leader writes. As in Kubernetes' own components, an observer treats the lease as expired when its own
 * clock has seen no renewal for the lease duration, so clocks of two machines are never compared.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';

/** Name of the Lease. */
export const leaseName = 'weft-control';
/** Annotation of the Lease: the time at which all pods are released, in RFC 3339. Any other text: no time is set. */
export const releaseAnnotation = 'weft.dev/release-at';
const durationS = 15;
/** Every replica reads the Lease this often; the leader renews it then. */
export const renewMs = 5_000;
/** A leader that could not renew the Lease for this long stops writing. Shorter than the lease, so it stops before another replica starts. */
const renewMsMax = 10_000;

export interface LeaseObject {
  readonly metadata: {
    readonly name: string;
    readonly resourceVersion?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

/** The last observed state of the Lease, and when this state was first observed. */
export interface Observed {
  readonly renewTime: string | undefined;
  readonly holder: string | undefined;
  readonly sinceMs: number;
}

/** Whether `self` may take the Lease. Pure. */
export function mayTake(observed: Observed, self: string, durationMs: number, nowMs: number): boolean {
  const { holder, sinceMs } = observed;
  return holder === undefined || holder === '' || holder === self || nowMs - sinceMs >= durationMs;
}

export class Leader {
  #observed: Observed | undefined;
  #renewedAtMs = 0;
  #leading = false;
  #timer: NodeJS.Timeout | undefined;
  #running = false;

  constructor(
    private readonly config: KubeConfig,
    private readonly namespace: string,
    private readonly name: string,
    private readonly self: string,
    private readonly onChange: (leading: boolean) => void,
    private readonly onError: (error: unknown) => void,
    /** Called on every replica each time it has read the Lease. */
    private readonly onRead: (lease: LeaseObject) => void = () => undefined,
  ) {}

  /** False also when the Lease could not be renewed for so long that another replica may hold it. */
  get leading(): boolean {
    return this.#leading && performance.now() - this.#renewedAtMs < renewMsMax;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#turn(), renewMs);
    void this.#turn();
  }

  /** Releases the Lease, so that the next leader need not wait for it to expire. Errors: ApiError. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    if (!this.leading) return;
    this.#set(false);
    const found = (await requestJson(this.config, 'GET', this.#path())) as LeaseObject;
    if (found.spec.holderIdentity !== this.self) return;
    await requestJson(this.config, 'PUT', this.#path(), {
      ...found,
      spec: { ...found.spec, holderIdentity: '', leaseDurationSeconds: 1 },
    });
  }

  #path(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.namespace}/leases/${this.name}`;
  }

  async #turn(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      await this.#hold();
    } catch (error) {
      // 409: another replica has taken the Lease first. That is no error.
      if (!(error instanceof ApiError && error.status === 409)) this.onError(error);
      if (!this.leading) this.#set(false);
    } finally {
      this.#running = false;
    }
  }

  async #hold(): Promise<void> {
    const now = new Date();
    // Durations use the monotonic clock: if the wall clock were set back, this replica would lead for longer than the lease.
    const nowMs = performance.now();
    const renewTime = now.toISOString().replace('Z', '000Z');
    const mine = { holderIdentity: this.self, leaseDurationSeconds: durationS, renewTime };
    let found: LeaseObject;
    try {
      found = (await requestJson(this.config, 'GET', this.#path())) as LeaseObject;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      await requestJson(this.config, 'POST', this.#path().slice(0, this.#path().lastIndexOf('/')), {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name: this.name },
        spec: { ...mine, acquireTime: renewTime, leaseTransitions: 0 },
      });
      return this.#renewed(nowMs);
    }
    this.onRead(found);
    const { holderIdentity: holder, renewTime: renewed, leaseTransitions = 0 } = found.spec;
    const same = this.#observed?.renewTime === renewed && this.#observed?.holder === holder;
    if (!same || !this.#observed) this.#observed = { renewTime: renewed, holder, sinceMs: nowMs };
    const durationMs = (found.spec.leaseDurationSeconds ?? durationS) * 1000;
    if (!mayTake(this.#observed, this.self, durationMs, nowMs)) return this.#set(false);
    const taken =
      holder === this.self ? {} : { acquireTime: renewTime, leaseTransitions: leaseTransitions + 1 };
    // The PUT carries the resource version that was read, so only one of two concurrent replicas succeeds.
    await requestJson(this.config, 'PUT', this.#path(), {
      ...found,
      spec: { ...found.spec, ...mine, ...taken },
    });
    this.#renewed(nowMs);
  }

  #renewed(nowMs: number): void {
    this.#renewedAtMs = nowMs;
    this.#set(true);
  }

  #set(leading: boolean): void {
    if (this.#leading === leading) return;
    this.#leading = leading;
    this.onChange(leading);
  }
}
