/**
 * Unconnected sockets in pods' network namespaces, made ahead in batches: a batch costs one visit to the namespace, however many sockets
 * it has. A pod that connects seldom has no stock, because batches begin with one socket.
 */
import { closeFd, socketsIn } from '../../native/index.js';
import type { PodNetns } from './netns.js';

/** Makes 1 to `count` sockets in the namespace of this cookie. Error: NativeError. */
type MakeSockets = (path: string, family: 4 | 6, count: number, cookie: bigint) => number[];

export interface SocketStockOptions {
  readonly make?: MakeSockets;
  readonly close?: (fd: number) => void;
  /** A shelf that was not used for one to two of these intervals is closed. */
  readonly idleMs?: number;
}

export const batchMax = 16;
/** Sockets of all pods of one worker. */
export const stockMax = 128;

interface Shelf {
  readonly fds: number[];
  batch: number;
  isUsed: boolean;
}

export class SocketStock {
  readonly #make: MakeSockets;
  readonly #close: (fd: number) => void;
  readonly #idleMs: number;
  /** By cookie, then by family. */
  readonly #shelves = new Map<bigint, Map<4 | 6, Shelf>>();
  #size = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ make = socketsIn, close = closeFd, idleMs = 2_000 }: SocketStockOptions = {}) {
    this.#make = make;
    this.#close = close;
    this.#idleMs = idleMs;
  }

  /** Unused sockets. */
  get size(): number {
    return this.#size;
  }

  /** An unconnected TCP socket, which the caller owns. Error: NativeError, also if another namespace is at the path by now. */
  take(netns: PodNetns, family: 4 | 6): number {
    const shelf = this.#shelf(netns.cookie, family);
    shelf.isUsed = true;
    let fd = shelf.fds.pop();
    if (fd !== undefined) {
      this.#size--;
      return fd;
    }
    const count = this.#size + shelf.batch > stockMax ? 1 : shelf.batch;
    const [first, ...rest] = this.#make(netns.path, family, count, netns.cookie);
    fd = first!;
    shelf.fds.push(...rest);
    this.#size += rest.length;
    shelf.batch = Math.min(batchMax, shelf.batch * 2);
    return fd;
  }

  /** The pod is gone: an open socket would keep its namespace alive. */
  forget(cookie: bigint): void {
    for (const shelf of this.#shelves.get(cookie)?.values() ?? []) this.#empty(shelf);
    this.#shelves.delete(cookie);
  }

  close(): void {
    for (const cookie of [...this.#shelves.keys()]) this.forget(cookie);
    this.#stop();
  }

  #shelf(cookie: bigint, family: 4 | 6): Shelf {
    let shelves = this.#shelves.get(cookie);
    if (!shelves) this.#shelves.set(cookie, (shelves = new Map()));
    let shelf = shelves.get(family);
    if (!shelf) shelves.set(family, (shelf = { fds: [], batch: 1, isUsed: true }));
    this.#timer ??= setInterval(() => this.#sweep(), this.#idleMs).unref();
    return shelf;
  }

  #sweep(): void {
    for (const [cookie, shelves] of this.#shelves) {
      for (const [family, shelf] of shelves) {
        if (!shelf.isUsed) {
          this.#empty(shelf);
          shelves.delete(family);
        }
        shelf.isUsed = false;
      }
      if (shelves.size === 0) this.#shelves.delete(cookie);
    }
    if (this.#shelves.size === 0) this.#stop();
  }

  #empty(shelf: Shelf): void {
    this.#size -= shelf.fds.length;
    for (const fd of shelf.fds.splice(0)) this.#close(fd);
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
