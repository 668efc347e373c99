/**
 * Follows the framing of the HTTP/1.1 messages in one direction of a connection (RFC 9112), so that a body is never taken for a message.
 * Strict: what two readers of HTTP could understand differently ends it. Bytes of bodies are skipped by count. Nothing is kept of a head
 * but the method, what the path's template depends on, and the status. The carrier has the same (native/carrier/src/observe).
 */
import { TemplatePath } from './template-path.js';

/** Of one head, or of the trailers of one body. Extensions of a chunk have the same limit. */
export const headBytesMax = 64 << 10;
const methodBytesMax = 20;
const textBytesMax = 32;
/** Digits of a length: numbers of JavaScript are exact. */
const lengthDigitsMax = 15;
const chunkDigitsMax = 12;

type State =
  | 'start'
  | 'start-lf'
  | 'method'
  | 'target'
  | 'version'
  | 'reason'
  | 'line-lf'
  | 'field-start'
  | 'field-name'
  | 'field-value'
  | 'head-lf'
  | 'head-read'
  | 'body'
  | 'until-end'
  | 'chunk-size'
  | 'chunk-space'
  | 'chunk-extension'
  | 'chunk-lf'
  | 'chunk-data'
  | 'chunk-data-cr'
  | 'chunk-data-lf'
  | 'trailer-start'
  | 'trailer'
  | 'trailer-lf'
  | 'trailers-lf'
  | 'stopped';

/**
 * `more`: every byte was read. `begin`: the next byte is the first one of a message. `head`: a head is complete, and `beginBody` follows.
 * `stopped`: what follows cannot be understood.
 */
export type ReaderEvent = 'more' | 'begin' | 'head' | 'stopped';

const [cr, lf, nul, space, tab, colon, semicolon, del] = [13, 10, 0, 32, 9, 58, 59, 127];
const tokens = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
  tokens[char.charCodeAt(0)] = 1;
const isToken = (byte: number): boolean => tokens[byte] === 1;
const isSpace = (byte: number): boolean => byte === space || byte === tab;
/** Ends of lines that some readers see and others do not. */
const isUnsound = (byte: number): boolean => byte === lf || byte === nul;
const isDigit = (byte: number): boolean => byte >= 48 && byte <= 57;
const versionBegin = Buffer.from('HTTP/1.');
const minorAt = versionBegin.length;
const statusAt = minorAt + 2;
const statusEnd = statusAt + 3;

export class Http1Reader {
  readonly #isOfRequests: boolean;
  #state: State = 'start';
  #headBytes = 0;
  /** In the part that the state names. */
  #at = 0;
  /** The method, then the name of a field, then its value. */
  #text = '';
  #field: 'other' | 'content-length' | 'transfer-encoding' = 'other';
  #length: number | undefined;
  #encoding: 'none' | 'chunked' | 'other' = 'none';
  #isVersion10 = false;
  /** Of a body or a chunk. */
  #left = 0;
  /** Where the bytes that were given last are read. */
  position = 0;
  method = '';
  status = 0;
  /** It has stopped because of `headBytesMax`. */
  isTooLarge = false;
  readonly path = new TemplatePath();

  constructor(kind: 'requests' | 'responses') {
    this.#isOfRequests = kind === 'requests';
  }

  /** Reads from `position` until the next event. */
  read(bytes: Uint8Array): ReaderEvent {
    while (this.position < bytes.length) {
      switch (this.#state) {
        case 'start':
          // A server ignores empty lines before a request.
          if (this.#isOfRequests && bytes[this.position] === cr) {
            this.#state = 'start-lf';
            this.position++;
            continue;
          }
          this.#beginMessage();
          return 'begin';
        case 'head-read':
        case 'stopped':
          return 'stopped';
        case 'until-end':
          this.position = bytes.length;
          return 'more';
        case 'body':
        case 'chunk-data': {
          const count = Math.min(this.#left, bytes.length - this.position);
          this.position += count;
          this.#left -= count;
          if (this.#left === 0) this.#state = this.#state === 'body' ? 'start' : 'chunk-data-cr';
          continue;
        }
        case 'field-value':
          // Most bytes of heads are in values that nobody reads.
          if (this.#field === 'other') this.#skipValue(bytes);
          if (this.position === bytes.length) return 'more';
          break;
        default:
          break;
      }
      const byte = bytes[this.position++] ?? 0;
      if (++this.#headBytes > headBytesMax) {
        this.isTooLarge = true;
        this.#stop();
      } else this.#readByte(byte);
      const state = this.#state as State;
      if (state === 'head-read') return 'head';
      if (state === 'stopped') return 'stopped';
    }
    return this.#state === 'stopped' ? 'stopped' : 'more';
  }

  /** Up to the end of its line, or the limit of the head. */
  #skipValue(bytes: Uint8Array): void {
    const from = this.position;
    const to = Math.min(bytes.length, from + headBytesMax - this.#headBytes);
    let at = from;
    for (; at < to; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === cr || byte === lf || byte === nul) break;
    }
    this.#headBytes += at - from;
    this.position = at;
  }

  /** After `head`. `mayHaveBody` false: the message has none, whatever its head says. */
  beginBody(mayHaveBody: boolean): void {
    if (!mayHaveBody) this.#state = 'start';
    else if (this.#encoding !== 'none') {
      const isChunked = this.#encoding === 'chunked';
      // Two lengths, or one that HTTP/1.0 does not have, are how requests are smuggled past a reader.
      if (this.#length !== undefined || this.#isVersion10 || (!isChunked && this.#isOfRequests))
        return this.#stop();
      this.#at = this.#headBytes = 0;
      this.#state = isChunked ? 'chunk-size' : 'until-end';
    } else if (this.#length !== undefined) {
      this.#left = this.#length;
      this.#state = this.#left > 0 ? 'body' : 'start';
    } else this.#state = this.#isOfRequests ? 'start' : 'until-end';
  }

  #stop(): void {
    this.#state = 'stopped';
  }

  #expect(byte: number, expected: number, next: State): void {
    this.#state = byte === expected ? next : 'stopped';
  }

  #beginMessage(): void {
    this.#state = this.#isOfRequests ? 'method' : 'version';
    this.#at = this.#headBytes = this.status = 0;
    this.#text = '';
    this.#length = undefined;
    this.#encoding = 'none';
    this.path.clear();
  }

  /** One byte of a head, of a chunk's head or of trailers. */
  #readByte(byte: number): void {
    switch (this.#state) {
      case 'start-lf':
        return this.#expect(byte, lf, 'start');
      case 'method':
        if (byte === space && this.#text !== '') {
          this.method = this.#text;
          this.#state = 'target';
        } else if (isToken(byte) && this.#text.length < methodBytesMax)
          this.#text += String.fromCharCode(byte);
        else this.#stop();
        return;
      case 'target':
        if (byte === space && this.path.text !== '') this.#state = 'version';
        else if (byte > space && byte !== del) this.path.add(byte);
        else this.#stop();
        return;
      case 'version':
        return this.#readVersion(byte);
      case 'reason':
        if (byte === cr) this.#state = 'line-lf';
        else if (isUnsound(byte)) this.#stop();
        return;
      case 'line-lf':
        return this.#expect(byte, lf, 'field-start');
      case 'field-start':
        if (byte === cr) {
          this.#state = 'head-lf';
          return;
        }
        this.#text = '';
        this.#state = 'field-name';
        return this.#readName(byte);
      case 'field-name':
        return this.#readName(byte);
      case 'field-value':
        return this.#readValue(byte);
      case 'head-lf':
        return this.#expect(byte, lf, 'head-read');
      case 'chunk-size':
        return this.#readChunkSize(byte);
      case 'chunk-space':
        if (byte === semicolon) this.#state = 'chunk-extension';
        else if (byte === cr) this.#state = 'chunk-lf';
        else if (!isSpace(byte)) this.#stop();
        return;
      case 'chunk-extension':
        if (byte === cr) this.#state = 'chunk-lf';
        else if (isUnsound(byte)) this.#stop();
        return;
      case 'chunk-lf':
        return this.#expect(byte, lf, this.#left > 0 ? 'chunk-data' : 'trailer-start');
      case 'chunk-data-cr':
        return this.#expect(byte, cr, 'chunk-data-lf');
      case 'chunk-data-lf':
        this.#at = this.#headBytes = 0;
        return this.#expect(byte, lf, 'chunk-size');
      case 'trailer-start':
        this.#state = byte === cr ? 'trailers-lf' : isToken(byte) ? 'trailer' : 'stopped';
        return;
      case 'trailer':
        if (byte === cr) this.#state = 'trailer-lf';
        else if (isUnsound(byte)) this.#stop();
        return;
      case 'trailer-lf':
        return this.#expect(byte, lf, 'trailer-start');
      case 'trailers-lf':
        return this.#expect(byte, lf, 'start');
      default:
        return this.#stop();
    }
  }

  /** Of a request `HTTP/1.1` and the end of the line. Of a response `HTTP/1.1 200`, and a space or the end of the line. */
  #readVersion(byte: number): void {
    const at = this.#at++;
    if (at < minorAt) {
      if (byte !== versionBegin[at]) this.#stop();
    } else if (at === minorAt) {
      this.#isVersion10 = byte === 48;
      if (byte !== 48 && byte !== 49) this.#stop();
    } else if (this.#isOfRequests) this.#expect(byte, cr, 'line-lf');
    else if (at < statusAt) {
      if (byte !== space) this.#stop();
    } else if (at < statusEnd) {
      if (!isDigit(byte) || (at === statusAt && byte === 48)) return this.#stop();
      this.status = this.status * 10 + byte - 48;
    } else if (byte === cr) this.#state = 'line-lf';
    else this.#expect(byte, space, 'reason');
  }

  #readName(byte: number): void {
    if (byte === colon && this.#text !== '') {
      const name = this.#text.toLowerCase();
      this.#field = name === 'content-length' || name === 'transfer-encoding' ? name : 'other';
      this.#text = '';
      this.#state = 'field-value';
    } else if (!isToken(byte)) this.#stop();
    else if (this.#text.length < textBytesMax) this.#text += String.fromCharCode(byte);
  }

  #readValue(byte: number): void {
    if (byte === cr) return this.#endValue();
    if (isUnsound(byte)) return this.#stop();
    if (this.#field === 'other' || (this.#text === '' && isSpace(byte))) return;
    if (this.#text.length === textBytesMax) return this.#stop();
    this.#text += String.fromCharCode(byte);
  }

  #endValue(): void {
    this.#state = 'line-lf';
    if (this.#field === 'other') return;
    const value = this.#text.replace(/[ \t]+$/, '').toLowerCase();
    if (this.#field === 'transfer-encoding') {
      if (this.#encoding !== 'none') return this.#stop();
      this.#encoding = value === 'chunked' ? 'chunked' : 'other';
      return;
    }
    if (!/^\d+$/.test(value) || value.length > lengthDigitsMax) return this.#stop();
    const length = Number(value);
    if (this.#length !== undefined && this.#length !== length) return this.#stop();
    this.#length = length;
  }

  #readChunkSize(byte: number): void {
    if (this.#at === 0) this.#left = 0;
    const lower = byte | 0x20;
    const isLetter = lower >= 97 && lower <= 102;
    if (isDigit(byte) || isLetter) {
      if (this.#at++ === chunkDigitsMax) return this.#stop();
      this.#left = this.#left * 16 + (isLetter ? lower - 87 : byte - 48);
      return;
    }
    if (this.#at === 0) return this.#stop();
    this.#state =
      byte === semicolon
        ? 'chunk-extension'
        : byte === cr
          ? 'chunk-lf'
          : isSpace(byte)
            ? 'chunk-space'
            : 'stopped';
  }
}
