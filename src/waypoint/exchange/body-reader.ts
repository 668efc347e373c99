/**
 * Reads the first bytes of a request's body before an endpoint is chosen. The bytes are in the router's replay buffer, from which the
 * endpoint gets them. Their number is bounded for each request, and shared fairly among a worker's clients.
 */
import type { FairLimit } from '../../base/fair-limit.js';
import { bodyBlockBytes } from '../external-authorization/external-authorization.js';
import type { Client } from '../listener/client.js';

export interface BufferedBody {
  readonly bytes: Buffer;
  /** False: the body is longer. */
  readonly isWhole: boolean;
  /** This client's share of the buffered bytes is used up: `bytes` are not all that were asked for. */
  readonly isFull: boolean;
}

export class BodyReader {
  #bytes = 0;
  #blocks = 0;
  #isFull = false;
  #pending: { readonly bytesMax: number; readonly resolve: (body: BufferedBody) => void } | undefined;

  constructor(
    private readonly shares: FairLimit,
    private readonly client: Pick<Client, 'name' | 'group'>,
    /** All bytes of the body so far. */
    private readonly buffered: () => readonly Buffer[],
    private readonly onFull: () => void,
  ) {}

  /** The body is being read: its source must not be paused. */
  get isReading(): boolean {
    return this.#pending !== undefined;
  }

  /** A later filter may ask for more bytes than an earlier one. */
  read(bytesMax: number, isEnded: boolean): Promise<BufferedBody> {
    // Bytes may have arrived while nobody read them.
    this.#bytes = 0;
    for (const bytes of this.buffered()) this.#count(bytes);
    return new Promise((resolve) => {
      this.#pending = { bytesMax, resolve };
      this.#settle(isEnded);
    });
  }

  /** @param pause called if no further bytes are needed */
  add(bytes: Buffer, pause: () => void): void {
    // Bytes that nobody waits for go to the endpoint.
    if (!this.#pending) return;
    this.#count(bytes);
    this.#settle(false);
    if (!this.isReading) pause();
  }

  end(): void {
    this.#settle(true);
  }

  /** The bytes have been sent, or the request has ended. */
  release(): void {
    this.#pending = undefined;
    for (; this.#blocks > 0; this.#blocks--) this.shares.release(this.client.name, this.client.group);
  }

  #count(bytes: Buffer): void {
    this.#bytes += bytes.length;
    while (!this.#isFull && this.#blocks * bodyBlockBytes < this.#bytes)
      if (this.shares.take(this.client.name, this.client.group) === undefined) this.#blocks++;
      else {
        this.#isFull = true;
        this.onFull();
      }
  }

  #settle(isEnded: boolean): void {
    const pending = this.#pending;
    if (!pending) return;
    const { bytesMax, resolve } = pending;
    if (!isEnded && !this.#isFull && this.#bytes <= bytesMax) return;
    this.#pending = undefined;
    const isWhole = isEnded && this.#bytes <= bytesMax;
    resolve({ bytes: Buffer.concat(this.buffered()), isWhole, isFull: this.#isFull });
  }
}
