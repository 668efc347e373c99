/** The other end of a connection, made of frames: it sends what it is given, and writes down what it gets. */
import type { Duplex } from 'node:stream';
import { HpackDecoder } from '../../src/http2/hpack/decoder.js';
import { turns } from './http2-engine.js';
import { endHeaders, endStream, frame, frameType, framesOf, settingsAck } from './http2-frames.js';

export interface ReceivedStream {
  heads: string[];
  body: string;
  isEnded: boolean;
  rst?: number;
}

export class Tester {
  readonly streams = new Map<number, ReceivedStream>();
  goAway: number | undefined;
  isClosed = false;
  /** Payloads of PING acknowledgments. */
  readonly pings: string[] = [];
  /** What the peer did that a peer must not do. */
  readonly faults: string[] = [];
  private readonly decoder = new HpackDecoder(4096);
  private rest: Buffer = Buffer.alloc(0);
  private block: Buffer[] = [];
  private quietTurns = 0;

  /** `prefaceBytes`: of the other end, which is a client then. */
  constructor(
    readonly socket: Duplex,
    private prefaceBytes = 0,
  ) {
    socket.on('data', (bytes: Buffer) => this.read(bytes));
    socket.on('end', () => {
      this.isClosed = true;
      socket.end();
    });
    socket.on('close', () => (this.isClosed = true));
    socket.on('error', () => {});
  }

  send(bytes: Buffer): void {
    if (!this.isClosed && !this.socket.destroyed && this.socket.writable) this.socket.write(bytes);
  }

  /** Until the other end has read everything, and says no more; or has closed. */
  async settle(): Promise<void> {
    this.send(frame(frameType.ping, 0, 0, Buffer.from('the end.')));
    for (let i = 0; i < 500 && !this.isEnded && !this.pings.includes('the end.'); i++) await turns(1);
    await this.quiet(20);
  }

  /** Until nothing has arrived for this many turns. */
  async quiet(count: number): Promise<void> {
    for (this.quietTurns = 0; this.quietTurns < count; this.quietTurns++) await turns(1);
  }

  /** The connection is over: closed, or GOAWAY with an error. */
  get isEnded(): boolean {
    return this.isClosed || (this.goAway ?? 0) > 0;
  }

  private read(bytes: Buffer): void {
    this.quietTurns = 0;
    bytes = this.rest.length > 0 ? Buffer.concat([this.rest, bytes]) : bytes;
    if (this.prefaceBytes > 0) {
      if (bytes.length < this.prefaceBytes) {
        this.rest = bytes;
        return;
      }
      bytes = bytes.subarray(this.prefaceBytes);
      this.prefaceBytes = 0;
    }
    for (const one of framesOf(bytes)) {
      this.onFrame(one.type, one.flags, one.stream, one.payload);
      bytes = bytes.subarray(9 + one.payload.length);
    }
    this.rest = bytes;
  }

  private onFrame(type: number, flags: number, id: number, payload: Buffer): void {
    const stream = this.streams.get(id) ?? { heads: [], body: '', isEnded: false };
    if (id > 0 && type !== frameType.window) this.streams.set(id, stream);
    if (stream.isEnded && type <= 1) this.faults.push(`frame ${type} after the end of stream ${id}`);
    if (this.block.length > 0 && type !== frameType.continuation)
      this.faults.push(`frame ${type} within a header block`);
    switch (type) {
      case frameType.data:
        stream.body += payload.toString('latin1');
        break;
      case frameType.headers:
      case frameType.continuation:
        this.block.push(payload);
        if ((flags & endHeaders) !== 0) {
          const fields: string[] = [];
          const result = this.decoder.decode(Buffer.concat(this.block), fields, {
            headerListBytesMax: 1e6,
            headerFieldsMax: 1000,
          });
          this.block = [];
          if (result !== 'ok') this.faults.push(`header block: ${this.decoder.why}`);
          stream.heads.push(fields.join('\n'));
        }
        break;
      case frameType.rst:
        stream.rst = payload.readUInt32BE(0);
        break;
      case frameType.settings:
        if ((flags & 1) === 0) this.send(settingsAck);
        break;
      case frameType.ping:
        if ((flags & 1) !== 0) this.pings.push(payload.toString('latin1'));
        break;
      case frameType.goaway:
        this.goAway = payload.readUInt32BE(4);
        break;
      case frameType.window:
        break;
      default:
        this.faults.push(`frame of type ${type}`);
    }
    if (type <= 1 && (flags & endStream) !== 0) stream.isEnded = true;
  }
}
