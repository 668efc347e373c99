/**
 * HTTP/1.1 framing (RFC 9112). The parser is strict where two implementations could disagree: a message whose end is ambiguous is refused.
 * Heads, body bytes and trailers are reported as they arrive; the body is not buffered.
 */
import type { Headers } from '../http/headers.js';
import { fieldsNotInTrailers } from '../http/restricted-fields.js';

interface ParserLimits {
  readonly headBytesMax: number;
  readonly headersMax: number;
  readonly chunkExtensionBytesMax: number;
}

/** The bytes are no valid message. `status`: the response to a client. */
export class HttpSyntaxError extends Error {
  constructor(
    readonly status: 400 | 417 | 431 | 501 | 505,
    message: string,
  ) {
    super(message);
  }
}

export interface MessageHead {
  /** `method` and `target` of a request; unused in a response. */
  method: string;
  target: string;
  status: number;
  minor: 0 | 1;
  headers: Headers;
  /** Length of the body in bytes. -1: chunked; -2: until the connection ends (responses). */
  length: number;
  /** Whether the connection persists, by the connection header or by the default of the version. */
  keepAlive: boolean;
  /** The protocol of an Upgrade that the connection header names. Undefined if a body comes first or the protocol is HTTP or TLS. */
  upgrade: string | undefined;
  /** Fields that the connection header names, in lower case. They are not forwarded. */
  connectionOptions: readonly string[];
}

export interface ParserEvents {
  /**
   * The listener may keep the head. Return true if no body follows: for a response that depends on the request (HEAD, successful upgrade).
   */
  onHead(head: MessageHead): boolean;
  onData(bytes: Buffer): void;
  onEnd(trailers: Headers | undefined): void;
}

const enum State {
  Head,
  Length,
  ChunkSize,
  ChunkData,
  ChunkEnd,
  Trailers,
  UntilClose,
  /** The message has ended: nothing is read until `next`. */
  Done,
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// CTLs other than HTAB; bytes above 0x7f are obs-text.
const badInHead = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)/;
const bareLf = /(?:^|[^\r])\n/;
/** As `bareLf`, for text whose first character was checked before. */
const bareLfWithin = /[^\r]\n/;
const badTarget = /[^\x21-\x7e\x80-\xff]|[\x80-\xff#]/;
const nothing: readonly string[] = [];
/**
 * Protocols that an upgrade must not lead to: HTTP, whose further requests would be neither routed nor authorized (h2c smuggling), and TLS,
 * which could hide the same. Such an upgrade is ignored, as RFC 9110, section 7.8 allows.
 */
const httpAgain = /(?:^|[\s,])(?:h2c?|https?|tls)(?:$|[\s,/])/i;

/** Cache of valid header names and their lower-case form; bounded, because peers choose the names. */
const names = new Map<string, string>();
const namesMax = 2048;
function nameOf(text: string): string {
  const known = names.get(text);
  if (known !== undefined) return known;
  if (!token.test(text)) throw new HttpSyntaxError(400, 'a header name is not a token');
  const name = text.toLowerCase();
  if (names.size < namesMax && text.length <= 64) names.set(text, name);
  return name;
}

const isSpace = (code: number): boolean => code === 0x20 || code === 0x09;
function trimmed(text: string, from: number, to: number): string {
  while (from < to && isSpace(text.charCodeAt(from))) from++;
  while (to > from && isSpace(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

const CR = 0x0d;
const LF = 0x0a;

export class Http1Parser {
  #state: State = State.Head;
  #pending: Buffer | undefined;
  #left = 0;
  /** Bytes in this message's chunk size lines beside the sizes themselves. */
  #extension = 0;
  #line = '';
  /** What was read of the empty line before a request: 0 nothing, 1 its CR, 2 all of it. */
  #emptyLine: 0 | 1 | 2 = 0;

  constructor(
    readonly kind: 'request' | 'response',
    private readonly events: ParserEvents,
    private readonly limits: ParserLimits,
  ) {}

  /** Whether a message is incomplete: some of its bytes arrived, its end did not. */
  get busy(): boolean {
    return this.#state === State.Head ? this.#pending !== undefined : this.#state !== State.Done;
  }
  get done(): boolean {
    return this.#state === State.Done;
  }

  /** Starts the next message. Call it after the end of a message. */
  next(): void {
    this.#state = State.Head;
    this.#pending = undefined;
    this.#emptyLine = 0;
  }

  /**
   * Reads from `offset` to the end of the bytes or of the message. Returns the offset of the first unread byte. Throws HttpSyntaxError; the
   * connection cannot be used after it.
   */
  execute(bytes: Buffer, offset: number): number {
    let at = offset;
    while (at < bytes.length) {
      switch (this.#state) {
        case State.Head:
          at = this.#head(bytes, at);
          break;
        case State.Length:
        case State.ChunkData: {
          const end = Math.min(bytes.length, at + this.#left);
          this.#left -= end - at;
          const isLast = this.#left === 0;
          const slice = at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end);
          at = end;
          if (isLast && this.#state === State.ChunkData) this.#state = State.ChunkEnd;
          this.events.onData(slice);
          if (isLast && this.#state === State.Length) this.#end(undefined);
          break;
        }
        case State.UntilClose:
          this.events.onData(at === 0 ? bytes : bytes.subarray(at));
          return bytes.length;
        case State.ChunkSize:
          at = this.#chunkSize(bytes, at);
          break;
        case State.ChunkEnd:
          at = this.#chunkEnd(bytes, at);
          break;
        case State.Trailers:
          at = this.#trailers(bytes, at);
          break;
        case State.Done:
          return at;
      }
    }
    return at;
  }

  /** Call it when the connection ends. False: it ended within a message. */
  finish(): boolean {
    if (this.#state === State.UntilClose) {
      this.#end(undefined);
      return true;
    }
    return !this.busy;
  }

  #end(trailers: Headers | undefined): void {
    this.#state = State.Done;
    this.events.onEnd(trailers);
  }

  #head(bytes: Buffer, from: number): number {
    let start = from;
    if (!this.#pending && this.kind === 'request') {
      // RFC 9112, section 2.2: one empty line before a request is skipped.
      if (bytes[start] === CR && this.#emptyLine === 0) {
        this.#emptyLine = 1;
        start++;
      }
      if (this.#emptyLine === 1 && start < bytes.length) {
        if (bytes[start] !== LF) throw new HttpSyntaxError(400, 'the head contains a control character');
        this.#emptyLine = 2;
        start++;
      }
      if (start >= bytes.length) return start;
    }
    const kept = this.#pending?.length ?? 0;
    const all = this.#pending ? Buffer.concat([this.#pending, bytes.subarray(start)]) : bytes;
    const base = this.#pending ? 0 : start;
    const end = all.indexOf('\r\n\r\n', Math.max(base, base + kept - 3), 'latin1');
    const size = (end < 0 ? all.length : end + 4) - base;
    if (size > this.limits.headBytesMax) throw new HttpSyntaxError(431, 'the headers are too large');
    if (end < 0) {
      // Another implementation that takes a bare LF as a line's end would already see headers here: refuse without waiting for more.
      const text = all.toString('latin1', base + Math.max(0, kept - 1));
      if ((kept === 0 ? bareLf : bareLfWithin).test(text))
        throw new HttpSyntaxError(400, 'a line ends in a bare LF');
      if (badInHead.test(text.endsWith('\r') ? text.slice(0, -1) : text))
        throw new HttpSyntaxError(400, 'the head contains a control character');
      this.#pending = base === 0 && all !== bytes ? all : Buffer.from(all.subarray(base));
      return bytes.length;
    }
    this.#pending = undefined;
    const consumed = kept === 0 ? end + 4 : start + end + 4 - kept;
    const head = this.#parseHead(all.toString('latin1', base, end));
    const noBody = this.events.onHead(head);
    if (this.#state !== State.Head) return consumed;
    if (noBody || head.length === 0) this.#end(undefined);
    else if (head.length > 0) {
      this.#left = head.length;
      this.#state = State.Length;
    } else if (head.length === -1) {
      this.#extension = 0;
      this.#line = '';
      this.#state = State.ChunkSize;
    } else this.#state = State.UntilClose;
    return consumed;
  }

  #parseHead(text: string): MessageHead {
    if (badInHead.test(text)) throw new HttpSyntaxError(400, 'the head contains a control character');
    let at = text.indexOf('\r\n');
    if (at < 0) at = text.length;
    const head: MessageHead = {
      method: '',
      target: '',
      status: 0,
      minor: 1,
      headers: [],
      length: 0,
      keepAlive: true,
      upgrade: undefined,
      connectionOptions: nothing,
    };
    if (this.kind === 'request') requestLine(text.slice(0, at), head);
    else statusLine(text.slice(0, at), head);
    this.#fields(text, at + 2, head.headers);
    this.#framing(head);
    return head;
  }

  /** Reads header lines from `at` on. A continuation line (obs-fold) is refused. */
  #fields(text: string, at: number, headers: Headers): void {
    while (at < text.length) {
      let end = text.indexOf('\r\n', at);
      if (end < 0) end = text.length;
      const colon = text.indexOf(':', at);
      if (colon < 0 || colon >= end) {
        throw new HttpSyntaxError(
          400,
          isSpace(text.charCodeAt(at)) ? 'a header line is folded' : 'a header line has no colon',
        );
      }
      const name = nameOf(text.slice(at, colon));
      const value = trimmed(text, colon + 1, end);
      if (value.includes('\n')) throw new HttpSyntaxError(400, 'a line ends in a bare LF');
      headers.push(name, value);
      if (headers.length > this.limits.headersMax * 2)
        throw new HttpSyntaxError(431, `more than ${this.limits.headersMax} headers`);
      at = end + 2;
    }
  }

  /** RFC 9112, section 6: the length of the body. A message whose length is ambiguous is refused. */
  #framing(head: MessageHead): void {
    const { headers } = head;
    let length: string | undefined;
    let coding: string | undefined;
    let connection: string | undefined;
    let hosts = 0;
    let upgrade: string | undefined;
    for (let i = 0; i < headers.length; i += 2) {
      const value = headers[i + 1] ?? '';
      switch (headers[i]) {
        case 'content-length':
          // A repeated content-length is refused even if both values are the same: the rest of such a message is not to be trusted either.
          if (length !== undefined) throw new HttpSyntaxError(400, 'more than one content-length');
          if (!/^\d{1,15}$/.test(value)) throw new HttpSyntaxError(400, 'content-length is not a number');
          length = value;
          break;
        case 'transfer-encoding':
          if (coding !== undefined) throw new HttpSyntaxError(400, 'more than one transfer-encoding');
          coding = value.toLowerCase();
          break;
        case 'connection':
          connection = connection === undefined ? value : `${connection},${value}`;
          break;
        case 'host':
          hosts++;
          break;
        case 'upgrade':
          upgrade = value;
          break;
      }
    }
    if (length !== undefined && coding !== undefined)
      throw new HttpSyntaxError(400, 'both content-length and transfer-encoding');
    if (coding !== undefined && head.minor === 0)
      throw new HttpSyntaxError(400, 'transfer-encoding in HTTP/1.0');
    if (coding !== undefined && coding !== 'chunked')
      throw new HttpSyntaxError(
        this.kind === 'request' ? 501 : 400,
        'a transfer-encoding other than chunked',
      );
    if (this.kind === 'request' && hosts > 1) throw new HttpSyntaxError(400, 'more than one host');
    if (this.kind === 'request' && hosts === 0 && head.minor === 1)
      throw new HttpSyntaxError(400, 'no host in HTTP/1.1');
    head.keepAlive = head.minor === 1;
    if (connection !== undefined) {
      const lower = connection.toLowerCase();
      if (lower === 'keep-alive') head.keepAlive = true;
      else if (lower === 'close') head.keepAlive = false;
      else {
        const options = lower
          .split(',')
          .map((option) => option.trim())
          .filter((option) => option !== '');
        if (options.includes('close')) head.keepAlive = false;
        else if (options.includes('keep-alive')) head.keepAlive = true;
        if (
          upgrade !== undefined &&
          options.includes('upgrade') &&
          head.minor === 1 &&
          coding === undefined &&
          (length === undefined || Number(length) === 0) &&
          !httpAgain.test(upgrade)
        )
          head.upgrade = upgrade;
        head.connectionOptions = options;
      }
    }
    if (coding !== undefined) head.length = -1;
    else if (length !== undefined) head.length = Number(length);
    else if (this.kind === 'response' && !hasNoBody(head.status)) head.length = -2;
    if (this.kind === 'response' && hasNoBody(head.status)) {
      if (coding !== undefined && head.status !== 304)
        throw new HttpSyntaxError(400, 'a body after a status that has none');
      head.length = 0;
    }
  }

  #chunkSize(bytes: Buffer, from: number): number {
    const lf = bytes.indexOf(LF, from);
    const end = lf < 0 ? bytes.length : lf + 1;
    const line = this.#line + bytes.toString('latin1', from, end);
    if (line.length > 18 + this.limits.chunkExtensionBytesMax)
      throw new HttpSyntaxError(400, 'a chunk size line is too long');
    if (lf < 0) {
      this.#line = line;
      return end;
    }
    this.#line = '';
    const match = /^([0-9a-fA-F]{1,12})(?:[ \t]*;[\t\x20-\x7e]*)?\r\n$/.exec(line);
    if (!match) throw new HttpSyntaxError(400, 'a chunk size is invalid');
    const digits = match[1] ?? '';
    // RFC 9112, section 7.1.1: extensions are skipped; their total size is limited.
    this.#extension += line.length - digits.length - 2;
    if (this.#extension > this.limits.chunkExtensionBytesMax)
      throw new HttpSyntaxError(
        400,
        `more than ${this.limits.chunkExtensionBytesMax} bytes of chunk extensions`,
      );
    this.#left = parseInt(digits, 16);
    this.#state = this.#left === 0 ? State.Trailers : State.ChunkData;
    return end;
  }

  #chunkEnd(bytes: Buffer, from: number): number {
    const wanted = this.#line === '' ? CR : LF;
    if (bytes[from] !== wanted) throw new HttpSyntaxError(400, 'a chunk does not end after its size');
    if (wanted === CR) this.#line = '\r';
    else {
      this.#line = '';
      this.#state = State.ChunkSize;
    }
    return from + 1;
  }

  #trailers(bytes: Buffer, from: number): number {
    const text = this.#line + bytes.toString('latin1', from);
    const before = this.#line.length;
    const end = text.startsWith('\r\n') ? 0 : text.indexOf('\r\n\r\n');
    if ((end < 0 ? text.length : end) > this.limits.headBytesMax)
      throw new HttpSyntaxError(431, 'the trailers are too large');
    if (end < 0) {
      if (bareLf.test(text)) throw new HttpSyntaxError(400, 'a line ends in a bare LF');
      this.#line = text;
      return bytes.length;
    }
    this.#line = '';
    const size = end === 0 && text.startsWith('\r\n') ? 2 : end + 4;
    const trailers: Headers = [];
    if (end > 0) {
      const part = text.slice(0, end);
      if (badInHead.test(part)) throw new HttpSyntaxError(400, 'the trailers contain a control character');
      this.#fields(part, 0, trailers);
      // RFC 9110, section 6.5.1: fields of framing, routing and the like are not allowed in trailers.
      for (let i = 0; i < trailers.length; i += 2) {
        if (fieldsNotInTrailers.has(trailers[i] ?? ''))
          throw new HttpSyntaxError(400, `${trailers[i]} is not allowed in trailers`);
      }
    }
    this.#end(trailers.length > 0 ? trailers : undefined);
    return from + size - before;
  }
}

/** Statuses whose responses have no body (RFC 9110, section 6.4.1). */
const hasNoBody = (status: number): boolean => status < 200 || status === 204 || status === 304;

function requestLine(line: string, head: MessageHead): void {
  const first = line.indexOf(' ');
  const last = line.lastIndexOf(' ');
  const version = line.slice(last + 1);
  if (version === 'HTTP/1.1') head.minor = 1;
  else if (version === 'HTTP/1.0') head.minor = 0;
  else if (/^HTTP\/\d\.\d$/.test(version)) throw new HttpSyntaxError(505, 'a version other than HTTP/1');
  else throw new HttpSyntaxError(400, 'the request line is invalid');
  head.method = line.slice(0, first);
  head.target = line.slice(first + 1, last);
  if (first < 1 || last <= first + 1 || !token.test(head.method) || badTarget.test(head.target))
    throw new HttpSyntaxError(400, 'the request line is invalid');
}

function statusLine(line: string, head: MessageHead): void {
  const match = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: |$)/.exec(line);
  if (!match || line.includes('\n')) throw new HttpSyntaxError(400, 'the status line is invalid');
  head.minor = match[1] === '1' ? 1 : 0;
  head.status = Number(match[2]);
}
