/** A peer's CONNECT request, and what the server knows about it. */
import { errorText } from '../base/errors.js';
import { listBytes } from '../http2/fields.js';
import type { Fields, Http2Stream, StreamListener } from '../http2/http2.js';
import { StreamDuplex } from '../http2/stream-duplex.js';
import type { UnreadBytes } from '../http2/unread-bytes.js';
import { parseSocketAddress, type SocketAddress } from '../model/address.js';
import type { SpiffeId } from '../model/identity.js';
import { sourceIdentityHeader } from './headers.js';

/** A peer's pending CONNECT request. The owner calls exactly one of accept and refuse, once. */
export interface InboundTunnel {
  readonly authority: SocketAddress;
  readonly peer: SpiffeId;
  /** Both ends of the TCP connection: `remote` is the peer, `local` the pod's own address. */
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
  readonly headers: TunnelHeaders;
  /** Responds 200. `detach` of the Duplex gives the stream itself, for a transport of an inner connection (StreamTransport). */
  accept(): StreamDuplex;
  refuse(status: number): void;
  /** `call` runs once when the stream closes, also when the peer leaves before the response. */
  onGone(call: () => void): void;
}

interface TunnelHeaders {
  readonly baggage?: string;
  readonly forwarded?: string;
  readonly traceparent?: string;
  /** The client identity that a waypoint states (headers.ts). */
  readonly sourceIdentity?: string;
}

interface ConnectRequest {
  readonly authority: SocketAddress;
  readonly headers: TunnelHeaders;
}

/** Reads a request's head. A string: why the request is not a valid tunnel request. */
export function readConnect(fields: Fields, headerListBytesMax: number): ConnectRequest | string {
  const found = new Map<string, string>();
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? '';
    const value = fields[i + 1] ?? '';
    const before = found.get(name);
    // Values of a repeated field are one list (RFC 9110, section 5.3). Two identities are none.
    found.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  if (found.get(':method') !== 'CONNECT') return 'the method is not CONNECT';
  if (listBytes(fields) > headerListBytesMax) return `the header list exceeds ${headerListBytesMax} bytes`;
  // HBONE uses plain CONNECT. The extended CONNECT of RFC 8441 has a :protocol and a :path.
  if (found.has(':protocol') || found.has(':path'))
    return 'extended CONNECT (:path or :protocol) is not supported';
  let authority: SocketAddress;
  try {
    authority = parseSocketAddress(found.get(':authority') ?? '');
  } catch (error) {
    return errorText(error);
  }
  return {
    authority,
    headers: {
      ...optional('baggage', found.get('baggage')),
      ...optional('forwarded', found.get('forwarded')),
      ...optional('traceparent', found.get('traceparent')),
      ...optional('sourceIdentity', found.get(sourceIdentityHeader)),
    },
  };
}

function optional<K extends string>(key: K, value: string | undefined): { [P in K]?: string } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: string };
}

/** Responds with a status alone. What the peer still sends is discarded. */
export function respond(stream: Http2Stream, status: number): void {
  if (stream.isClosed) return;
  stream.listener = undefined;
  stream.respond([':status', String(status)], true);
  stream.discard();
}

/** A tunnel's TLS connection: the peer's proven identity, and both addresses. */
interface PeerAddresses {
  readonly peer: SpiffeId;
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
}

/** A CONNECT request that the owner has not accepted or refused yet. */
export class PendingTunnel implements InboundTunnel, StreamListener {
  readonly authority: SocketAddress;
  readonly headers: TunnelHeaders;
  readonly peer: SpiffeId;
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
  #hasResponded = false;
  #onGone: (() => void) | undefined;

  constructor(
    private readonly stream: Http2Stream,
    { authority, headers }: ConnectRequest,
    { peer, remote, local }: PeerAddresses,
    private readonly unread: UnreadBytes,
    private readonly endStream: boolean,
  ) {
    this.authority = authority;
    this.headers = headers;
    this.peer = peer;
    this.remote = remote;
    this.local = local;
    stream.listener = this;
    // A peer may send before the response.
    stream.pause();
  }

  accept(): StreamDuplex {
    if (!this.stream.isClosed && !this.#hasResponded) this.stream.respond([':status', '200'], false);
    this.#hasResponded = true;
    return new StreamDuplex(this.stream, this.unread, this.endStream);
  }

  refuse(status: number): void {
    if (this.#hasResponded) return;
    this.#hasResponded = true;
    respond(this.stream, status);
  }

  onGone(call: () => void): void {
    const former = this.#onGone;
    this.#onGone = () => {
      former?.();
      call();
    };
  }

  /** The stream has closed. */
  gone(): void {
    const call = this.#onGone;
    this.#onGone = undefined;
    call?.();
  }

  // A pending tunnel is paused: only a reset passes it on, and `gone` reports that.
  onInterim(): void {}
  onHead(): void {}
  onData(): void {}
  onEnd(): void {}
  onDrain(): void {}
  onReset(): void {}
}
