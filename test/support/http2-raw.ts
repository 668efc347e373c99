/** A connection of the engine on a transport in memory: a test hands it frames and reads the frames that it wrote. */
import { createConnection } from '../../src/http2/connection.js';
import type {
  ConnectionEnd,
  ConnectionOptions,
  Fields,
  Http2Connection,
  Http2Stream,
  StreamReset,
  Transport,
  TransportListener,
} from '../../src/http2/http2.js';
import { engineOptions, turns } from './http2-engine.js';
import {
  block,
  endHeaders,
  frame,
  framesOf,
  frameType,
  preface,
  pseudo,
  request,
  settings,
  u32,
} from './http2-frames.js';

class MemoryTransport implements Transport {
  listener: TransportListener | undefined;
  readonly depth = 0;
  isOpen = true;
  isEnded = false;
  isDestroyed = false;
  /** False: `write` refuses more. */
  isRoom = true;
  written: Buffer[] = [];
  writes = 0;

  write(buffers: readonly Buffer[]): boolean {
    this.writes++;
    this.written.push(...buffers.map((bytes) => Buffer.from(bytes)));
    return this.isRoom;
  }
  end(): void {
    this.isEnded = true;
  }
  destroy(): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    this.isOpen = false;
    setImmediate(() => this.listener?.onClose(undefined));
  }
  pause(): void {}
  resume(): void {}
}

export interface SeenStream {
  readonly stream: Http2Stream;
  readonly events: string[];
  readonly fields: Fields;
}

export class RawPeer {
  readonly transport = new MemoryTransport();
  readonly connection: Http2Connection;
  readonly streams: SeenStream[] = [];
  /** Events of the connection, and of all streams as `ID:EVENT`. */
  readonly events: string[] = [];
  end: ConnectionEnd | undefined;
  /** Called for each event of a stream, as its owner would act. */
  onEvent: (stream: Http2Stream, event: string) => void = () => undefined;

  /** @param first what the peer sends first; without it: the preface and SETTINGS */
  constructor(
    role: 'client' | 'server' = 'server',
    changes: Partial<ConnectionOptions> = {},
    first: readonly Buffer[] = [...(role === 'server' ? [preface] : []), settings],
  ) {
    this.connection = createConnection(this.transport, engineOptions(role, changes), {
      onStream: (stream, fields) => this.watch(stream, fields),
      onSettings: () => this.events.push('settings'),
      onGoAway: (id, code) => this.events.push(`goaway ${id} ${code}`),
      onStreamClosed: ({ id }) => this.events.push(`closed ${id}`),
      onClose: (end) => {
        this.events.push(`close ${end.kind}`);
        this.end = end;
      },
    });
    if (first.length > 0) this.send(...first);
  }

  watch(stream: Http2Stream, fields: Fields): SeenStream {
    const seen: SeenStream = { stream, events: [], fields };
    this.streams.push(seen);
    const on = (event: string): void => {
      seen.events.push(event);
      this.events.push(`${stream.id}:${event}`);
      this.onEvent(stream, event);
    };
    stream.listener = {
      onInterim: (of) => on(`interim ${of[1]}`),
      onHead: (of, isEnd) => on(`head ${of[1]}${isEnd ? ' end' : ''}`),
      onData: (bytes) => on(`data ${bytes.length}`),
      onEnd: (trailers) => on(trailers ? `end ${trailers.join()}` : 'end'),
      onDrain: () => on('drain'),
      onReset: ({ code, by, isUnprocessed }: StreamReset) =>
        on(`reset ${code} ${by}${isUnprocessed ? ' unprocessed' : ''}`),
    };
    return seen;
  }

  /** Client: a request whose events are recorded. */
  request(fields: Fields = get, endStream = true): SeenStream {
    return this.watch(this.connection.request(fields, endStream) as Http2Stream, fields);
  }

  send(...frames: readonly Buffer[]): void {
    this.transport.listener?.onData(Buffer.concat(frames));
  }

  /** The frames that were written since the last call, `TYPE ID FLAGS LENGTH`; of RST_STREAM and GOAWAY with the code. */
  async frames(): Promise<string[]> {
    await turns(3);
    const bytes = Buffer.concat(this.transport.written);
    this.transport.written = [];
    const hasPreface = bytes.subarray(0, preface.length).equals(preface);
    return framesOf(hasPreface ? bytes.subarray(preface.length) : bytes).map(
      ({ type, flags, stream, payload }) => {
        const name = Object.entries(frameType).find(([, number]) => number === type)?.[0] ?? String(type);
        if (name === 'rst') return `rst ${stream} ${payload.readUInt32BE(0)}`;
        if (name === 'goaway') return `goaway ${payload.readUInt32BE(0)} ${payload.readUInt32BE(4)}`;
        if (name === 'window') return `window ${stream} ${payload.readUInt32BE(0)}`;
        if (name === 'ping' || name === 'settings') return `${name}${flags === 1 ? ' ack' : ''}`;
        return `${name} ${stream}${(flags & 1) === 1 ? ' end' : ''} ${payload.length}`;
      },
    );
  }
}

export const get: Fields = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a'];

/** A GET request without a body, and the head of a POST request whose body follows. */
export const ask = (id: number): Buffer => request(id, ...pseudo());
export const post = (id: number): Buffer =>
  frame(frameType.headers, endHeaders, id, block(...pseudo('/', 'POST')));
export const data = (id: number, length: number, isEnd = false): Buffer =>
  frame(frameType.data, isEnd ? 1 : 0, id, Buffer.alloc(length, 'd'));
export const windowUpdate = (id: number, bytes: number): Buffer => frame(frameType.window, 0, id, u32(bytes));
export const goAway = (lastId: number, code = 0): Buffer =>
  frame(frameType.goaway, 0, 0, Buffer.concat([u32(lastId), u32(code)]));
/** SETTINGS with one entry. */
export function setting(id: number, value: number): Buffer {
  const entry = Buffer.alloc(6);
  entry.writeUInt16BE(id, 0);
  entry.writeUInt32BE(value, 2);
  return frame(frameType.settings, 0, 0, entry);
}
