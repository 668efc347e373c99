/**
 * Requests that wait for a connection, in their order. All of them may wait equally long, so their order is that of their deadlines,
 * and one timer serves the queue.
 */
import { performance } from 'node:perf_hooks';
import type { Upstream, UpstreamFailure } from '../http/http-stream.js';

/** Called once: with a connection, or with the failure. */
export type Acquired = (upstream: Upstream | undefined, failure: UpstreamFailure | undefined) => void;

/** A request that waits for a connection. */
export interface Pending {
  /** The request no longer waits: it has ended. `Acquired` is not called. Does nothing if it was called before. */
  cancel(): void;
}

class Waiter<T> implements Pending {
  previous: Waiter<T> | undefined;
  next: Waiter<T> | undefined;
  queue: PendingQueue<T> | undefined;

  constructor(
    readonly done: Acquired,
    /** The request needs a connection that has not served another request. */
    readonly fresh: boolean,
    readonly sinceMs: number,
    readonly held: T,
  ) {}

  cancel(): void {
    this.queue?.remove(this);
  }
}

interface PendingQueueOptions<T> {
  /** How long a request may wait. A change applies to requests that wait already. */
  waitMsMax(): number;
  /** Called for each request that leaves the queue, for whatever reason, before its `Acquired`. `held`: what was given to `add`. */
  onLeave(held: T): void;
  /** Called when the oldest request has waited too long. The callee fails it, or leaves it if its connection is being opened. */
  onExpired(): void;
}

export class PendingQueue<T> {
  #first: Waiter<T> | undefined;
  #last: Waiter<T> | undefined;
  #timer: NodeJS.Timeout | undefined;
  size = 0;

  constructor(private readonly options: PendingQueueOptions<T>) {}

  /** @param held what the request holds while it waits */
  add(done: Acquired, fresh: boolean, held: T): Pending {
    const waiter = new Waiter(done, fresh, performance.now(), held);
    waiter.queue = this;
    waiter.previous = this.#last;
    if (this.#last) this.#last.next = waiter;
    else this.#first = waiter;
    this.#last = waiter;
    this.size++;
    this.#arm();
    return waiter;
  }

  /**
   * Takes the oldest request out of the queue. `used`: the connection for it has served another request, so requests that need a fresh
   * one stay.
   */
  take(used: boolean): Acquired | undefined {
    let waiter = this.#first;
    while (used && waiter?.fresh === true) waiter = waiter.next;
    if (!waiter) return undefined;
    this.remove(waiter);
    return waiter.done;
  }

  /** Fails the oldest request. */
  fail(failure: UpstreamFailure): void {
    this.take(false)?.(undefined, failure);
  }

  /** The oldest request has waited too long. */
  get isOverdue(): boolean {
    return this.#first !== undefined && this.#deadlineOf(this.#first) <= performance.now();
  }

  #deadlineOf({ sinceMs }: Waiter<T>): number {
    return sinceMs + this.options.waitMsMax();
  }

  remove(waiter: Waiter<T>): void {
    if (waiter.queue !== this) return;
    waiter.queue = undefined;
    if (waiter.previous) waiter.previous.next = waiter.next;
    else this.#first = waiter.next;
    if (waiter.next) waiter.next.previous = waiter.previous;
    else this.#last = waiter.previous;
    waiter.previous = waiter.next = undefined;
    this.size--;
    if (this.size === 0) this.#disarm();
    this.options.onLeave(waiter.held);
  }

  #arm(): void {
    const first = this.#first;
    if (this.#timer || !first) return;
    const leftMs = this.#deadlineOf(first) - performance.now();
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.options.onExpired();
        this.#arm();
      },
      // A request that was overdue and stayed is looked at again later.
      leftMs > 0 ? Math.min(leftMs, recheckMsMax) : recheckMsMin,
    );
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

const recheckMsMin = 100;
/** The time that requests may wait can change. */
const recheckMsMax = 1_000;
