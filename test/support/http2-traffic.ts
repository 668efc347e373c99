/** Random messages between clients and servers of the engine and of node:http2. */
import { createHash } from 'node:crypto';
import http2 from 'node:http2';
import type { Duplex } from 'node:stream';
import type {
  ConnectionOptions,
  Fields,
  Http2Connection,
  Http2Stream,
  StreamListener,
} from '../../src/http2/http2.js';
import { engineOn } from './http2-engine.js';

type Random = (below: number) => number;

/** One exchange, as its client plans it and its server reads it from the path. */
export interface Plan {
  readonly id: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly hasRequestTrailers: boolean;
  readonly hasResponseTrailers: boolean;
  readonly hasInterim: boolean;
  /** Who resets: after this many bytes of the message that is received; undefined: nobody. */
  readonly resetBy: 'client' | 'server' | undefined;
  /** Bytes of a write, and turns between pauses of the receiver; 0: none. */
  readonly chunkBytes: number;
  readonly pauseEvery: number;
}

export function randomPlan(random: Random, id: number): Plan {
  const size = (): number => [0, 1, 100, 5000, 70_000, 300_000][random(6)] as number;
  return {
    id,
    requestBytes: size(),
    responseBytes: size(),
    hasRequestTrailers: random(4) === 0,
    hasResponseTrailers: random(3) === 0,
    hasInterim: random(6) === 0,
    resetBy: random(8) === 0 ? (random(2) === 0 ? 'client' : 'server') : undefined,
    chunkBytes: [100, 4000, 16_384, 50_000][random(4)] as number,
    pauseEvery: random(3) === 0 ? 1 + random(5) : 0,
  };
}

/** What the two ends have seen of an exchange. */
export interface Exchange {
  request?: string;
  requestBody?: string;
  requestTrailers?: string;
  response?: string;
  responseBody?: string;
  responseTrailers?: string;
  interim?: string;
  clientReset?: number;
  serverReset?: number;
}
export type Exchanges = Map<number, Exchange>;

const digest = (bytes: Buffer): string =>
  `${bytes.length} ${createHash('sha1').update(bytes).digest('base64')}`;
const messageBody = (bytes: number, id: number): Buffer =>
  Buffer.alloc(bytes, `${id}.abcdefghijklmnopqrstuvwxyz`);
const cancel = 8;

const requestHead = (plan: Plan): Fields => [
  ...[
    ':method',
    'POST',
    ':scheme',
    'http',
    ':path',
    `/${JSON.stringify(plan).replaceAll(' ', '')}`,
    ':authority',
    'a.test',
  ],
  ...[
    'content-type',
    'x/y',
    'x-id',
    String(plan.id),
    ...(plan.id % 3 ? ['x-more', 'm'.repeat(plan.id % 200)] : []),
  ],
];
const responseHead = (plan: Plan): Fields => [':status', '200', 'x-id', String(plan.id), 'date', 'd'];
const trailersOf = (plan: Plan): Fields => ['x-trailer', String(plan.id)];
const planOf = (path: string): Plan => JSON.parse(path.slice(1)) as Plan;

const text = (fields: readonly string[]): string => fields.join('\n');
const valueOf = (fields: readonly string[], name: string): string => fields[fields.indexOf(name) + 1] ?? '';
const asObject = (fields: readonly string[]): http2.OutgoingHttpHeaders =>
  Object.fromEntries(fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]]] : [])));

/** What both ends must have seen of an exchange that nobody reset. */
export function expected(plan: Plan): Exchange {
  return {
    request: text(requestHead(plan)),
    requestBody: digest(messageBody(plan.requestBytes, plan.id)),
    ...(plan.hasRequestTrailers ? { requestTrailers: text(trailersOf(plan)) } : {}),
    response: text(responseHead(plan)),
    responseBody: digest(messageBody(plan.responseBytes, plan.id)),
    ...(plan.hasResponseTrailers ? { responseTrailers: text(trailersOf(plan)) } : {}),
    ...(plan.hasInterim ? { interim: '103' } : {}),
  };
}

/** A stream of either implementation. */
interface Writable {
  readonly isClosed: boolean;
  write(bytes: Buffer): boolean;
  end(trailers?: Fields): void;
  onceDrained(then: () => void): void;
}
function send(to: Writable, bytes: Buffer, chunkBytes: number, trailers: Fields | undefined, at = 0): void {
  while (at < bytes.length) {
    if (to.isClosed) return;
    const more = to.write(bytes.subarray(at, at + chunkBytes));
    at += chunkBytes;
    if (!more) return to.onceDrained(() => send(to, bytes, chunkBytes, trailers, at));
  }
  to.end(trailers);
}

// ---- the engine

class EngineStream implements Writable, StreamListener {
  private drained: (() => void) | undefined;
  private parts: Buffer[] = [];
  private bytes = 0;

  constructor(
    readonly stream: Http2Stream,
    private readonly plan: Plan,
    private readonly seen: Exchange,
    private readonly isServer: boolean,
    private readonly onMessage: () => void,
  ) {}

  get isClosed(): boolean {
    return this.stream.isClosed;
  }
  write(bytes: Buffer): boolean {
    return this.stream.write(bytes);
  }
  end(trailers?: Fields): void {
    this.stream.end(trailers);
  }
  onceDrained(then: () => void): void {
    this.drained = then;
  }

  onInterim(fields: Fields): void {
    this.seen.interim = valueOf(fields, ':status');
  }
  onHead(fields: Fields, endStream: boolean): void {
    this.seen.response = text(fields);
    if (endStream) this.onEnd(undefined);
  }
  onData(bytes: Buffer): void {
    const { plan, stream, isServer } = this;
    this.parts.push(bytes);
    this.bytes += bytes.length;
    const total = isServer ? plan.requestBytes : plan.responseBytes;
    if (plan.resetBy === (isServer ? 'server' : 'client') && this.bytes >= total / 2)
      return stream.reset(cancel);
    if (plan.pauseEvery > 0 && this.parts.length % plan.pauseEvery === 0) {
      stream.pause();
      setTimeout(() => stream.resume(), 1);
    }
  }
  onEnd(trailers: Fields | undefined): void {
    const body = digest(Buffer.concat(this.parts));
    if (this.isServer) this.seen.requestBody = body;
    else this.seen.responseBody = body;
    if (trailers) this.seen[this.isServer ? 'requestTrailers' : 'responseTrailers'] = text(trailers);
    this.onMessage();
  }
  onDrain(): void {
    const then = this.drained;
    this.drained = undefined;
    then?.();
  }
  onReset(reset: { code: number }): void {
    this.seen[this.isServer ? 'serverReset' : 'clientReset'] = reset.code;
  }
}

export interface Peer {
  /** Streams that are not closed; not of node:http2's servers. */
  readonly openStreams: number;
  destroy(): void;
}

export function engineServer(socket: Duplex, seen: Exchanges, changes: Partial<ConnectionOptions>): Peer {
  return engineOn(
    socket,
    {
      onStream(stream, fields, endStream) {
        const plan = planOf(valueOf(fields, ':path'));
        const exchange = entry(seen, plan.id);
        exchange.request = text(fields);
        const one = new EngineStream(stream, plan, exchange, true, () => {
          if (plan.hasInterim) stream.interim([':status', '103']);
          stream.respond(responseHead(plan), false);
          const trailers = plan.hasResponseTrailers ? trailersOf(plan) : undefined;
          send(one, messageBody(plan.responseBytes, plan.id), plan.chunkBytes, trailers);
        });
        stream.listener = one;
        if (endStream) one.onEnd(undefined);
      },
      onSettings() {},
      onGoAway() {},
      onStreamClosed() {},
      onClose() {},
    },
    'server',
    changes,
  );
}

export interface Client extends Peer {
  /** False: not now. */
  request(plan: Plan, done: () => void): boolean;
}

export function engineClient(socket: Duplex, seen: Exchanges, changes: Partial<ConnectionOptions>): Client {
  const waiting = new Map<number, () => void>();
  const connection: Http2Connection = engineOn(
    socket,
    {
      onStream() {},
      onSettings() {},
      onGoAway() {},
      onStreamClosed(stream) {
        waiting.get(stream.id)?.();
        waiting.delete(stream.id);
      },
      onClose() {},
    },
    'client',
    changes,
  );
  return {
    get openStreams() {
      return connection.openStreams;
    },
    destroy: () => connection.destroy(),
    request(plan, done) {
      const isEmpty = plan.requestBytes === 0 && !plan.hasRequestTrailers;
      const stream = connection.request(requestHead(plan), isEmpty);
      if (!stream) return false;
      waiting.set(stream.id, done);
      const one = new EngineStream(stream, plan, entry(seen, plan.id), false, () => {});
      stream.listener = one;
      const trailers = plan.hasRequestTrailers ? trailersOf(plan) : undefined;
      if (!isEmpty) send(one, messageBody(plan.requestBytes, plan.id), plan.chunkBytes, trailers);
      return true;
    },
  };
}

function entry(seen: Exchanges, id: number): Exchange {
  const known = seen.get(id) ?? {};
  seen.set(id, known);
  return known;
}

// ---- node:http2

class NodeStream implements Writable {
  private parts: Buffer[] = [];
  private bytes = 0;

  constructor(
    private readonly stream: http2.Http2Stream,
    plan: Plan,
    seen: Exchange,
    isServer: boolean,
    onMessage: () => void,
  ) {
    const total = isServer ? plan.requestBytes : plan.responseBytes;
    stream.on('error', () => {});
    stream.on('data', (bytes: Buffer) => {
      this.parts.push(bytes);
      this.bytes += bytes.length;
      if (plan.resetBy === (isServer ? 'server' : 'client') && this.bytes >= total / 2)
        return stream.close(cancel);
      if (plan.pauseEvery > 0 && this.parts.length % plan.pauseEvery === 0) {
        stream.pause();
        setTimeout(() => stream.resume(), 1);
      }
    });
    stream.on('trailers', (_headers, _flags, raw?: readonly string[]) => {
      seen[isServer ? 'requestTrailers' : 'responseTrailers'] = text(raw ?? []);
    });
    stream.on('end', () => {
      if (stream.aborted || stream.rstCode !== 0) return;
      seen[isServer ? 'requestBody' : 'responseBody'] = digest(Buffer.concat(this.parts));
      onMessage();
    });
    stream.on('close', () => {
      if (stream.rstCode !== 0) seen[isServer ? 'serverReset' : 'clientReset'] = stream.rstCode as number;
    });
  }

  get isClosed(): boolean {
    return this.stream.destroyed || this.stream.closed;
  }
  write(bytes: Buffer): boolean {
    return this.stream.write(bytes);
  }
  end(trailers?: Fields): void {
    if (this.isClosed) return;
    if (trailers) this.stream.once('wantTrailers', () => this.stream.sendTrailers(asObject(trailers)));
    this.stream.end();
  }
  onceDrained(then: () => void): void {
    this.stream.once('drain', then);
  }
}

export function nodeServer(socket: Duplex, seen: Exchanges, windowBytes: number): Peer {
  const server = http2.createServer({
    settings: { initialWindowSize: windowBytes, maxConcurrentStreams: 50 },
  });
  let session: http2.Http2Session | undefined;
  server.on('session', (one) => {
    session = one;
    one.on('error', () => {});
  });
  server.on('stream', (stream, headers, _flags, raw?: readonly string[]) => {
    const plan = planOf(String(headers[':path']));
    const exchange = entry(seen, plan.id);
    exchange.request = text(raw ?? []);
    const one: NodeStream = new NodeStream(stream, plan, exchange, true, () => {
      if (stream.destroyed || stream.closed) return;
      if (plan.hasInterim) stream.additionalHeaders({ ':status': 103 });
      stream.respond(asObject(responseHead(plan)), { waitForTrailers: plan.hasResponseTrailers });
      const trailers = plan.hasResponseTrailers ? trailersOf(plan) : undefined;
      send(one, messageBody(plan.responseBytes, plan.id), plan.chunkBytes, trailers);
    });
  });
  server.emit('connection', socket);
  return { openStreams: 0, destroy: () => session?.destroy() };
}

export function nodeClient(socket: Duplex, seen: Exchanges, windowBytes: number): Client {
  const session = http2.connect('http://a.test', {
    createConnection: () => socket,
    settings: { initialWindowSize: windowBytes, enablePush: false },
  });
  session.on('error', () => {});
  let open = 0;
  return {
    get openStreams() {
      return open;
    },
    destroy: () => session.destroy(),
    request(plan, done) {
      const isEmpty = plan.requestBytes === 0 && !plan.hasRequestTrailers;
      const stream = session.request(asObject(requestHead(plan)), {
        endStream: isEmpty,
        waitForTrailers: plan.hasRequestTrailers,
      });
      const exchange = entry(seen, plan.id);
      open++;
      stream.on('close', () => {
        open--;
        done();
      });
      stream.on(
        'response',
        (_headers, _flags, raw?: readonly string[]) => (exchange.response = text(raw ?? [])),
      );
      stream.on('headers', (headers) => (exchange.interim = String(headers[':status'])));
      const one = new NodeStream(stream, plan, exchange, false, () => {});
      const trailers = plan.hasRequestTrailers ? trailersOf(plan) : undefined;
      if (!isEmpty) send(one, messageBody(plan.requestBytes, plan.id), plan.chunkBytes, trailers);
      return true;
    },
  };
}
