/**
 * The interfaces of the HTTP/2 engine (RFC 9113). A connection runs over a `Transport`: a socket, or a stream of another connection (HBONE).
 * Nothing here depends on what the streams carry.
 */

/** Header fields, flat: name, value, name, value ... Names in lower case; pseudo-headers first. The receiver owns the list. */
export type Fields = string[];

export interface TransportListener {
  /** The receiver may keep the bytes; nobody changes them afterwards. */
  onData(bytes: Buffer): void;
  /** After a `write` that returned false: the transport accepts more. */
  onDrain(): void;
  /** The peer has ended its direction in order. */
  onEnd(): void;
  /** The transport is closed; the last event. `why`: undefined after an orderly end of both directions. */
  onClose(why: string | undefined): void;
}

/** The bytes under a connection. Events never occur within a call of the transport's own methods. */
export interface Transport {
  listener: TransportListener | undefined;
  /** 0: a socket. n: a stream of a connection whose transport has depth n - 1. Deeper connections flush first within a turn of the event loop. */
  readonly depth: number;
  readonly isOpen: boolean;
  /** The buffers belong to the transport from the call on. False: the backlog is full; `onDrain` follows. */
  write(buffers: readonly Buffer[]): boolean;
  /** Ends the own direction after everything that was written. */
  end(): void;
  /** Closes at once: a reset for the peer. */
  destroy(): void;
  pause(): void;
  resume(): void;
}

/** Why a stream ended before both directions were complete. */
export interface StreamReset {
  /** The error code (RFC 9113, section 7). */
  readonly code: number;
  /** `peer`: RST_STREAM arrived. `protocol`: the peer's frames on this stream were invalid and the engine reset it, or the connection ended because the peer violated the protocol. `connection`: the connection ended otherwise. */
  readonly by: 'peer' | 'protocol' | 'connection';
  /** The peer stated, or it follows from the protocol, that the request was not processed: REFUSED_STREAM, above the last stream of GOAWAY, or never sent. */
  readonly isUnprocessed: boolean;
  readonly why: string;
}

export interface StreamListener {
  /** Client: an interim response (1xx). */
  onInterim(fields: Fields): void;
  /** Client: the response's head. A server's streams get their head by `ConnectionListener.onStream`. */
  onHead(fields: Fields, endStream: boolean): void;
  onData(bytes: Buffer): void;
  /** The peer's direction is complete. Not called if `endStream` was set with the head. */
  onEnd(trailers: Fields | undefined): void;
  /** After a `write` that returned false. */
  onDrain(): void;
  /**
   * At most once, and the last event. Not called for the owner's own `reset`. Data that was buffered while the stream was paused comes
   * before it, paused or not, and so does `onEnd` if the end was received: a peer may respond, end and reset at once.
   */
  onReset(reset: StreamReset): void;
}

export interface Http2Stream {
  readonly id: number;
  /** Set before any event can occur: at once in `onStream`, or right after `request`. Undefined: events are discarded, data too. */
  listener: StreamListener | undefined;
  /** Both directions are complete, or the stream was reset. */
  readonly isClosed: boolean;
  /** The peer's direction is complete. */
  readonly isRemoteEnded: boolean;
  readonly isPaused: boolean;
  /** Server: 1xx. */
  interim(fields: Fields): void;
  /** Server: the response's head, once. */
  respond(fields: Fields, endStream: boolean): void;
  /** False: more is queued than the backlog allows; `onDrain` follows. The bytes belong to the stream from the call on. */
  write(bytes: Buffer): boolean;
  /** Ends the own direction after everything that was written. */
  end(trailers?: Fields): void;
  /** Server: the response is complete or will be; the rest of the request is discarded, and RST_STREAM (NO_ERROR) follows the response's end (RFC 9113, section 8.1). */
  discard(): void;
  /**
   * Calls back once everything that was written, the end included, was handed to the transport; at once if nothing waits. Not called if
   * the stream is reset before.
   */
  whenFlushed(call: () => void): void;
  /** Sends RST_STREAM. Queued bytes are dropped. No event follows. */
  reset(code: number): void;
  /** While paused, received data is buffered (at most the stream's window), and no WINDOW_UPDATE is sent for the stream. */
  pause(): void;
  resume(): void;
}

/** Why a connection ended. */
export interface ConnectionEnd {
  /** `closed`: in order. `peer`: GOAWAY with an error, or the transport closed. `protocol`: the peer violated the protocol. `flood`: it exceeded a limit. `timeout`: no preface, SETTINGS or end of a header block in time. `local`: the owner destroyed it. */
  readonly kind: 'closed' | 'peer' | 'protocol' | 'flood' | 'timeout' | 'local';
  readonly code: number;
  readonly why: string;
}

export interface ConnectionListener {
  /** Server: a new request. Set `stream.listener` within the call. */
  onStream(stream: Http2Stream, fields: Fields, endStream: boolean): void;
  /** The peer's SETTINGS arrived, the first or a later frame. */
  onSettings(): void;
  /** Client and server: the peer accepts no new streams. Streams above `lastStreamId` get `onReset`, unprocessed. */
  onGoAway(lastStreamId: number, code: number): void;
  /** A stream has closed: `openStreams` is one less. */
  onStreamClosed(stream: Http2Stream): void;
  /** The last event. All streams have got their last event before. */
  onClose(end: ConnectionEnd): void;
}

export interface ConnectionOptions {
  readonly role: 'client' | 'server';
  /** Announced by SETTINGS; the first only by a server. A client sets it to 0: it disables push. */
  readonly maxConcurrentStreams: number;
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
  /**
   * Bytes buffered for paused streams that do not count against the connection's window. Beyond them, paused streams block the other
   * streams of the connection. Default: one window of the connection.
   */
  readonly bufferedBytesMax?: number;
  readonly frameBytesMax: number;
  /** Limits of one received header block, decoded as RFC 9113, section 6.5.2 counts; beyond it the stream is reset and the connection goes on. */
  readonly headerListBytesMax: number;
  readonly headerFieldsMax: number;
  /** Bytes of one stream that may be queued before `write` returns false. */
  readonly backlogBytesMax: number;
  /** For the peer's preface and first SETTINGS; 0: no limit. */
  readonly settingsTimeoutMsMax: number;
  /** From the first byte of a header block to its last; 0: no limit. */
  readonly headerBlockTimeoutMsMax: number;
}

export interface Http2Connection {
  readonly listener: ConnectionListener;
  readonly openStreams: number;
  /** Client: another stream may be opened now (the peer's limit, GOAWAY, closing). */
  readonly canOpen: boolean;
  /** No new streams: `drain` was called, GOAWAY was sent or received, or the connection has ended. */
  readonly isDraining: boolean;
  readonly isClosed: boolean;
  /** Client: opens a stream. Undefined: `canOpen` is false. */
  request(fields: Fields, endStream: boolean): Http2Stream | undefined;
  /** Calls back when the peer has acknowledged; never if the connection ends before. */
  ping(onAck: () => void): void;
  /** Graceful: GOAWAY; open streams go on, and the connection closes after the last one. */
  drain(): void;
  /** Ends all streams and the transport now. `code`: sent in GOAWAY. */
  destroy(code?: number): void;
}
