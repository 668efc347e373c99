/** A connection to one carrier: packets, their order, and what waits for room in the socket. */
import { errorText } from '../../src/base/errors.js';
import { closeDescriptors, packetBytesMax, type Channel } from '../pod/channel.js';
import type { ObservedRequests } from './gen/carrier.js';
import { decodePacket, encodeMessage, type FromCarrierKind, type ToCarrierKind } from './protocol.js';

/** A carrier that does not read gets no more than this. */
const queuedBytesMax = 64 << 20;

interface Packet {
  readonly bytes: Buffer;
  readonly fds: readonly number[];
  readonly onSent: () => void;
}

export interface ConnectionParts {
  /** A throw ends the connection. */
  readonly onMessage: (message: FromCarrierKind) => void;
  /** Called before the messages of its packet. A throw ends the connection. */
  readonly onObserved: (requests: ObservedRequests) => void;
  /** Every message of a packet that has ends of flows was processed. */
  readonly onBatch: (worker: number, batch: number) => void;
  /** Called once, never within a call of this object. */
  readonly onClosed: (why: string) => void;
}

export class CarrierConnection {
  readonly #channel: Channel;
  readonly #parts: ConnectionParts;
  /** Messages of this turn, which share packets. */
  #messages: Buffer[] = [];
  #messageBytes = 0;
  readonly #packets: Packet[] = [];
  #packetBytes = 0;
  #isFlushing = false;
  #isClosed = false;

  constructor(channel: Channel, parts: ConnectionParts) {
    this.#channel = channel;
    this.#parts = parts;
    channel.keepAlive(true);
    channel.onPacket = (bytes, fds) => {
      // A carrier sends none.
      closeDescriptors(fds);
      this.#onPacket(bytes);
    };
    channel.onWritable = () => this.#write();
    channel.onClosed = (why) => this.#end(why);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Sends a message after all former ones. A message with descriptors has a packet of its own. `onSent`: the descriptors may be closed; also
   * called if the connection ends before.
   */
  send(message: ToCarrierKind, fds: readonly number[] = [], onSent: () => void = () => undefined): void {
    if (this.#isClosed) return onSent();
    if (fds.length > 0) {
      this.#pack();
      this.#queue({ bytes: encodeMessage(message), fds, onSent });
    } else {
      const bytes = encodeMessage(message);
      if (this.#messageBytes + bytes.length > packetBytesMax) this.#pack();
      this.#messages.push(bytes);
      this.#messageBytes += bytes.length;
    }
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    queueMicrotask(() => this.#flush());
  }

  close(): void {
    this.#isClosed = true;
    this.#channel.close();
    this.#drop();
  }

  #flush(): void {
    this.#isFlushing = false;
    if (this.#isClosed) return;
    this.#pack();
    this.#write();
  }

  #pack(): void {
    if (this.#messages.length === 0) return;
    this.#queue({ bytes: Buffer.concat(this.#messages), fds: [], onSent: () => undefined });
    this.#messages = [];
    this.#messageBytes = 0;
  }

  #queue(packet: Packet): void {
    this.#packets.push(packet);
    this.#packetBytes += packet.bytes.length;
  }

  #write(): void {
    while (!this.#isClosed) {
      const [packet] = this.#packets;
      if (!packet) return;
      if (!this.#channel.send(packet.bytes, packet.fds)) break;
      this.#packets.shift();
      this.#packetBytes -= packet.bytes.length;
      packet.onSent();
    }
    if (this.#packetBytes > queuedBytesMax) this.#fail('the carrier does not read');
  }

  #onPacket(bytes: Buffer): void {
    try {
      const { messages, worker, batch, observed } = decodePacket(bytes);
      for (const requests of observed) this.#parts.onObserved(requests);
      for (const message of messages) {
        if (this.#isClosed) return;
        this.#parts.onMessage(message);
      }
      if (batch !== 0) this.#parts.onBatch(worker, batch);
    } catch (error) {
      this.#fail(errorText(error));
    }
  }

  #fail(why: string): void {
    this.#channel.close();
    queueMicrotask(() => this.#end(why));
  }

  #end(why: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#drop();
    this.#parts.onClosed(why);
  }

  #drop(): void {
    for (const { onSent } of this.#packets.splice(0)) onSent();
    this.#messages = [];
  }
}
