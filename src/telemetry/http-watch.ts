/**
 * The HTTP/1.1 requests of one connection, as a relay sees them pass. It looks at the bytes and changes nothing. What it cannot follow ends
 * it for that connection: CONNECT, an upgrade, messages without sound framing, bytes that are not HTTP/1.1. The carrier has the same
 * (native/carrier/src/observe).
 */
import type { RelayWatch } from '../hbone/relay.js';
import { Http1Reader } from './http1-reader.js';
import type { HttpObservation } from './http-observation.js';
import { pathTemplate } from './path-template.js';
import { methodName } from './path-templates.js';

/** Requests of one connection that wait for their responses. */
export const waitingMax = 32;
/** Of their templates. Beyond, a path counts as `**`: a worker may relay very many connections. */
export const waitingCharsMax = 2_048;
const [switchingProtocols, ok, noContent, notModified] = [101, 200, 204, 304];

interface Waiting {
  readonly method: string;
  readonly pathTemplate: string;
  readonly beganMs: number;
  readonly isHead: boolean;
}

export interface HttpWatchParts {
  /** Whose bytes are the requests: those that the pod's side of the relay sends, or those of the peer. */
  readonly client: 'pod' | 'peer';
  readonly onRequest: (observation: HttpObservation) => void;
  /** A limit ended the watch: a head is too large, or too many requests wait for responses. */
  readonly onLimit: () => void;
}

export class HttpWatch implements RelayWatch {
  readonly #parts: HttpWatchParts;
  /** Undefined: the watch has ended. */
  #readers: { readonly requests: Http1Reader; readonly responses: Http1Reader } | undefined = {
    requests: new Http1Reader('requests'),
    responses: new Http1Reader('responses'),
  };
  #waiting: Waiting[] = [];
  #waitingChars = 0;
  #requestMs = 0;
  #responseMs = 0;

  constructor(parts: HttpWatchParts) {
    this.#parts = parts;
  }

  sent(bytes: Uint8Array): void {
    if (this.#readers) this.#read(this.#parts.client === 'pod', bytes);
  }

  received(bytes: Uint8Array): void {
    if (this.#readers) this.#read(this.#parts.client === 'peer', bytes);
  }

  /** The connection has ended: requests without a response count with status 0. */
  end(): void {
    if (!this.#readers) return;
    const nowMs = performance.now();
    for (const request of this.#waiting) this.#seen(request, 0, nowMs);
    this.#stop();
  }

  #read(areRequests: boolean, bytes: Uint8Array): void {
    const reader = areRequests ? this.#readers?.requests : this.#readers?.responses;
    if (!reader) return;
    reader.position = 0;
    while (this.#readers) {
      switch (reader.read(bytes)) {
        case 'more':
          return;
        case 'begin':
          if (areRequests) this.#requestMs = performance.now();
          else {
            this.#responseMs = performance.now();
            // Nobody asked for it.
            if (this.#waiting.length === 0) this.#stop();
          }
          break;
        case 'head':
          if (areRequests) this.#onRequestHead(reader);
          else this.#onResponseHead(reader);
          break;
        case 'stopped':
          if (reader.isTooLarge) this.#parts.onLimit();
          this.#stop();
      }
    }
  }

  #onRequestHead(reader: Http1Reader): void {
    // What follows is of another protocol, once the response permits it.
    if (reader.method === 'CONNECT') return this.#stop();
    if (this.#waiting.length === waitingMax) {
      this.#parts.onLimit();
      return this.#stop();
    }
    const template = pathTemplate(reader.path.text);
    const hasRoom = this.#waitingChars + template.length <= waitingCharsMax;
    const kept = hasRoom ? template : '**';
    this.#waitingChars += kept.length;
    this.#waiting.push({
      method: methodName(reader.method),
      pathTemplate: kept,
      beganMs: this.#requestMs,
      isHead: reader.method === 'HEAD',
    });
    reader.beginBody(true);
  }

  #onResponseHead(reader: Http1Reader): void {
    const { status } = reader;
    if (status < ok && status !== switchingProtocols) return reader.beginBody(false);
    const request = this.#waiting.shift();
    if (!request) return this.#stop();
    this.#waitingChars -= request.pathTemplate.length;
    this.#seen(request, status, this.#responseMs);
    if (status === switchingProtocols) return this.#stop();
    reader.beginBody(!request.isHead && status !== noContent && status !== notModified);
  }

  #seen({ method, pathTemplate, beganMs }: Waiting, status: number, endedMs: number): void {
    this.#parts.onRequest({ method, pathTemplate, status, durationMs: Math.max(0, endedMs - beganMs) });
  }

  #stop(): void {
    this.#readers = undefined;
    this.#waiting = [];
  }
}
