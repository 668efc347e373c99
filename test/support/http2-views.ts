/** What an application sees of HTTP/2 connections, written down in one form for the engine and for node:http2. */
import http2 from 'node:http2';
import type { Duplex } from 'node:stream';
import type { Fields, Http2Connection, Http2Stream, StreamListener } from '../../src/http2/http2.js';
import { engineOn } from './http2-engine.js';

/** One message as the application saw it. */
export interface StreamView {
  interim: string[];
  head?: string;
  body: string;
  trailers?: string;
  isEnded: boolean;
  /** RST_STREAM's code, or why the stream ended early. */
  reset?: number;
}
/** An application on a connection: what it saw, by stream. */
export interface Application {
  readonly streams: Map<number, StreamView>;
  readonly openStreams: number;
  readonly isClosed: boolean;
  /** Why the connection and streams ended, in words. */
  readonly why: string;
  destroy(): void;
}

const view = (): StreamView => ({ interim: [], body: '', isEnded: false });
/** node:http2 adds fields to responses that it cannot be kept from. */
const text = (fields: readonly string[]): string => {
  const pairs: string[] = [];
  for (let i = 0; i < fields.length; i += 2) pairs.push(`${fields[i]}: ${fields[i + 1]}`);
  return pairs.join('\n');
};

/** What a server responds: `/end/N/M` N bytes after the request's end, `/now/N/M` at once; M: 1 with trailers, 2 after an interim response. */
export function planOf(path: string): {
  isNow: boolean;
  bytes: number;
  hasTrailers: boolean;
  hasInterim: boolean;
} {
  const [, when, bytes, more] = path.split('/');
  const length = Number(bytes);
  return {
    isNow: when === 'now',
    bytes: length >= 0 && length < 1e6 ? Math.floor(length) : 10,
    hasTrailers: more === '1',
    hasInterim: more === '2',
  };
}
const bodyOf = (bytes: number): Buffer => Buffer.alloc(bytes, 'abcdefghijklmnopqrstuvwxyz');
const responseHead = (bytes: number): Fields => [
  ...[':status', '200', 'content-type', 'text/plain', 'x-bytes', String(bytes), 'date', 'never'],
];
const responseTrailers: Fields = ['x-sum', '1'];
const interimHead: Fields = [':status', '103', 'link', '<a>'];

const valueOf = (fields: readonly string[], name: string): string => fields[fields.indexOf(name) + 1] ?? '';
const asObject = (fields: readonly string[]): http2.OutgoingHttpHeaders => {
  const all: http2.OutgoingHttpHeaders = {};
  for (let i = 0; i < fields.length; i += 2) all[fields[i] as string] = fields[i + 1];
  return all;
};

export function engineServerOn(socket: Duplex): Application {
  const streams = new Map<number, StreamView>();
  let why = '';
  const note = (more: string): void => void (why += `${more}; `);
  const connection: Http2Connection = engineOn(
    socket,
    {
      onStream(stream, fields, endStream) {
        const seen = view();
        seen.head = text(fields);
        streams.set(stream.id, seen);
        const plan = planOf(valueOf(fields, ':path'));
        const respond = (): void => {
          if (plan.hasInterim) stream.interim([...interimHead]);
          stream.respond(responseHead(plan.bytes), false);
          stream.write(bodyOf(plan.bytes));
          stream.end(plan.hasTrailers ? [...responseTrailers] : undefined);
        };
        stream.listener = recorder(seen, respond, plan.isNow, note);
        seen.isEnded = endStream;
        if (plan.isNow || endStream) respond();
      },
      onSettings() {},
      onGoAway() {},
      onStreamClosed() {},
      onClose(end) {
        note(`${end.kind} ${end.code}: ${end.why}`);
      },
    },
    'server',
  );
  return {
    streams,
    get openStreams() {
      return connection.openStreams;
    },
    get isClosed() {
      return connection.isClosed;
    },
    get why() {
      return why;
    },
    destroy: () => connection.destroy(),
  };
}

function recorder(
  seen: StreamView,
  respond: () => void,
  isNow: boolean,
  note: (why: string) => void,
): StreamListener {
  return {
    onInterim: (fields) => void seen.interim.push(text(fields)),
    onHead(fields, endStream) {
      seen.head = text(fields);
      seen.isEnded = endStream;
    },
    onData: (bytes) => void (seen.body += bytes.toString('latin1')),
    onEnd(trailers) {
      if (trailers) seen.trailers = text(trailers);
      seen.isEnded = true;
      if (!isNow) respond();
    },
    onDrain() {},
    onReset(reset) {
      seen.reset = reset.code;
      note(`stream reset, ${reset.why}`);
    },
  };
}

type Raw = readonly string[];

const nodeServer = http2.createServer({ settings: { maxConcurrentStreams: 100 } });
nodeServer.on('session', (session) => {
  const application = waiting as NodeApplication;
  application.session = session;
  session.on('error', (error) => (application.why = String(error)));
});
nodeServer.on('stream', (stream, _headers, flags, raw?: Raw) => {
  const application = applications.get(stream.session as http2.Http2Session) as NodeApplication;
  const fields = raw ?? [];
  const seen = view();
  seen.head = text(fields);
  application.streams.set(stream.id as number, seen);
  const plan = planOf(valueOf(fields, ':path'));
  const respond = (): void => {
    if (stream.destroyed || stream.headersSent) return;
    if (plan.hasInterim) stream.additionalHeaders(asObject(interimHead));
    stream.respond(asObject(responseHead(plan.bytes)), { waitForTrailers: plan.hasTrailers });
    stream.on('wantTrailers', () => stream.sendTrailers(asObject(responseTrailers)));
    stream.end(bodyOf(plan.bytes));
  };
  record(stream, seen);
  stream.on('end', () => {
    // node:http2 ends the stream of a reset too.
    if (stream.aborted || stream.rstCode !== 0) return;
    seen.isEnded = true;
    if (!plan.isNow) respond();
  });
  if ((flags & 1) !== 0) seen.isEnded = true;
  if (plan.isNow || (flags & 1) !== 0) respond();
});

class NodeApplication implements Application {
  readonly streams = new Map<number, StreamView>();
  session: http2.Http2Session | undefined;
  why = '';
  get openStreams(): number {
    return 0;
  }
  get isClosed(): boolean {
    return this.session?.destroyed ?? false;
  }
  destroy(): void {
    this.session?.destroy();
  }
}
let waiting: NodeApplication | undefined;
const applications = new Map<http2.Http2Session, NodeApplication>();

function record(stream: http2.Http2Stream, seen: StreamView): void {
  stream.on('error', () => {});
  stream.on('data', (bytes: Buffer) => void (seen.body += bytes.toString('latin1')));
  stream.on('trailers', (_headers, _flags, raw?: Raw) => void (seen.trailers = text(raw ?? [])));
  stream.on('close', () => {
    if (stream.rstCode !== 0 || stream.aborted) seen.reset = stream.rstCode ?? 0;
  });
}

export function nodeServerOn(socket: Duplex): Application {
  const application = new NodeApplication();
  waiting = application;
  nodeServer.emit('connection', socket);
  if (application.session) applications.set(application.session, application);
  return application;
}

/** A client that sends these requests at once: the heads' fields, and whether the request ends with the head. */
export function engineClientOn(socket: Duplex, requests: readonly Fields[]): Application {
  const streams = new Map<number, StreamView>();
  let why = '';
  const note = (more: string): void => void (why += `${more}; `);
  const connection = engineOn(
    socket,
    {
      onStream() {},
      onSettings() {},
      onGoAway() {},
      onStreamClosed() {},
      onClose(end) {
        note(`${end.kind} ${end.code}: ${end.why}`);
      },
    },
    'client',
  );
  for (const fields of requests) {
    const stream = connection.request([...fields], true) as Http2Stream;
    const seen = view();
    streams.set(stream.id, seen);
    stream.listener = recorder(seen, () => {}, true, note);
  }
  return {
    streams,
    get openStreams() {
      return connection.openStreams;
    },
    get isClosed() {
      return connection.isClosed;
    },
    get why() {
      return why;
    },
    destroy: () => connection.destroy(),
  };
}

export function nodeClientOn(socket: Duplex, requests: readonly Fields[]): Application {
  const application = new NodeApplication();
  const session = http2.connect('http://a.test', {
    createConnection: () => socket,
    settings: { enablePush: false },
  });
  application.session = session;
  session.on('error', (error) => (application.why = String(error)));
  for (const [i, fields] of requests.entries()) {
    const stream = session.request(asObject(fields), { endStream: true });
    const seen = view();
    application.streams.set(i * 2 + 1, seen);
    record(stream, seen);
    stream.on('headers', (_headers, _flags, raw?: Raw) => void seen.interim.push(text(raw ?? [])));
    stream.on('response', (_headers, flags, raw?: Raw) => {
      seen.head = text(raw ?? []);
      if ((flags & 1) !== 0) seen.isEnded = true;
    });
    stream.on('end', () => {
      if (!stream.aborted && stream.rstCode === 0 && seen.head !== undefined) seen.isEnded = true;
    });
  }
  return application;
}
