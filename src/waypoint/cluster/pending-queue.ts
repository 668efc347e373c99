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

class Waiter implements Pending {
  previous: Waiter | undefined;
  next: Waiter | undefined;
  queue: PendingQueue | undefined;

  constructor(
    readonly done: Acquired,
    /** The request needs a connection that has not served another request. */
    readonly fresh: boolean,
    readonly deadlineMs: number,
  ) {}

  cancel(): void {
    this.queue?.remove(this);
  }
}

interface PendingQueueOptions {
  readonly waitMsMax: number;
  /** Called for each request that leaves the queue, for whatever reason, before its `Acquired`. */
  onLeave(): void;
  /** Called when the oldest request has waited too long. The callee fails it, or leaves it if its connection is being opened. */
  onExpired(): void;
}

export class PendingQueue {
  #first: Waiter | undefined;
  #last: Waiter | undefined;
  #timer: NodeJS.Timeout | undefined;
  size = 0;

  constructor(private readonly options: PendingQueueOptions) {}

  add(done: Acquired, fresh: boolean): Pending {
    const waiter = new Waiter(done, fresh, performance.now() + this.options.waitMsMax);
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
    return this.#first !== undefined && this.#first.deadlineMs <= performance.now();
  }

  remove(waiter: Waiter): void {
    if (waiter.queue !== this) return;
    waiter.queue = undefined;
    if (waiter.previous) waiter.previous.next = waiter.next;
    else this.#first = waiter.next;
    if (waiter.next) waiter.next.previous = waiter.previous;
    else this.#last = waiter.previous;
    waiter.previous = waiter.next = undefined;
    this.size--;
    if (this.size === 0) this.#disarm();
    this.options.onLeave();
  }

  #arm(): void {
    const first = this.#first;
    if (this.#timer || !first) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.options.onExpired();
        this.#arm();
      },
      // A request that was overdue and stayed is looked at again later.
      Math.max(first.deadlineMs - performance.now(), recheckMsMin),
    );
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

const recheckMsMin = 100;
