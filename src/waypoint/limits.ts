/** What one waypoint takes, and for how long it waits; each is stated in docs/waypoint.md. */
export interface WaypointLimits {
  /** Request or status line and headers together; more is 431 (client) or 502 (upstream). */
  readonly headBytesMax: number;
  readonly headersMax: number;
  /** From a request's first byte to the end of its headers, and to the first byte on a new connection; 0: no limit. */
  readonly headTimeoutMsMax: number;
  /** Without a byte of the request's body while one is awaited and no response has begun; 0: no limit. Rules may say otherwise. */
  readonly bodyIdleMsMax: number;
  /** A client's connection on which nothing is asked; 0: no limit. */
  readonly idleConnectionMsMax: number;
  /** The same, once the waypoint is to end. */
  readonly drainIdleMs: number;
  /** An upstream connection that nobody uses; below what servers commonly keep one for. */
  readonly idleUpstreamMsMax: number;
  /** Without a byte in either direction while the response is awaited; 0: no limit. Rules may say otherwise. */
  readonly streamIdleMsMax: number;
  /** The same once the response has begun, for gRPC, and for upgraded connections (WebSocket); 0: no limit. */
  readonly openIdleMsMax: number;
  /** Without progress of a mirrored request: its mirror neither takes nor sends bytes. */
  readonly mirrorIdleMsMax: number;
  /** For the rest of a response to a client that takes it, once its connection is to end. */
  readonly lingerMsMax: number;
  /** Of an upload that nobody wants, once its response is sent: without a byte, in all, and bytes. nginx has the same two clocks. */
  readonly discardIdleMsMax: number;
  readonly discardMsMax: number;
  readonly discardBytesMax: number;
  readonly connectTimeoutMsMax: number;
  /** Interim answers (1xx) before the one that counts. */
  readonly interimMax: number;
  readonly chunkExtensionBytesMax: number;
  /** Bytes of a request kept to send it again where a rule asks for retries. */
  readonly retryBufferBytesMax: number;
  /** Bytes that may wait for a reader before its source is paused. */
  readonly backlogBytesMax: number;
  /** Mirrored requests under way. */
  readonly mirrorsMax: number;
  /** Bytes of one mirrored request that wait for its mirror. */
  readonly mirrorBufferBytesMax: number;
  /** The same of all mirrors of a worker. */
  readonly mirrorBuffersBytesMax: number;
  readonly connectionsMax: number;
  readonly requestsMax: number;
  /** Connections to one endpoint for one client. */
  readonly connectionsPerEndpointMax: number;
  /** How long the first bytes are waited for where the protocol has to be detected. */
  readonly detectTimeoutMsMax: number;
  readonly http2StreamsMax: number;
}

export const defaultLimits: WaypointLimits = {
  headBytesMax: 60 << 10,
  headersMax: 200,
  headTimeoutMsMax: 15_000,
  bodyIdleMsMax: 60_000,
  idleConnectionMsMax: 3600_000,
  drainIdleMs: 3_000,
  idleUpstreamMsMax: 4_000,
  streamIdleMsMax: 300_000,
  openIdleMsMax: 3_600_000,
  mirrorIdleMsMax: 60_000,
  lingerMsMax: 300_000,
  discardIdleMsMax: 5_000,
  discardMsMax: 30_000,
  discardBytesMax: 256 << 20,
  connectTimeoutMsMax: 5_000,
  interimMax: 16,
  chunkExtensionBytesMax: 1024,
  retryBufferBytesMax: 64 << 10,
  backlogBytesMax: 256 << 10,
  mirrorsMax: 10_000,
  mirrorBufferBytesMax: 4 << 20,
  mirrorBuffersBytesMax: 64 << 20,
  connectionsMax: 50_000,
  requestsMax: 50_000,
  connectionsPerEndpointMax: 1024,
  detectTimeoutMsMax: 3_000,
  http2StreamsMax: 200,
};

/** The clocks that a waypoint was started with, in milliseconds; those that are absent stay as they are. */
export function clocksOf(options: {
  readonly requestHeadTimeoutMs?: number;
  readonly requestBodyIdleTimeoutMs?: number;
  readonly streamIdleTimeoutMs?: number;
  readonly connectionIdleTimeoutMs?: number;
}): Partial<WaypointLimits> {
  const { requestHeadTimeoutMs, requestBodyIdleTimeoutMs, streamIdleTimeoutMs, connectionIdleTimeoutMs } =
    options;
  return {
    ...(requestHeadTimeoutMs === undefined ? {} : { headTimeoutMsMax: requestHeadTimeoutMs }),
    ...(requestBodyIdleTimeoutMs === undefined ? {} : { bodyIdleMsMax: requestBodyIdleTimeoutMs }),
    ...(streamIdleTimeoutMs === undefined
      ? {}
      : { streamIdleMsMax: streamIdleTimeoutMs, openIdleMsMax: streamIdleTimeoutMs }),
    ...(connectionIdleTimeoutMs === undefined ? {} : { idleConnectionMsMax: connectionIdleTimeoutMs }),
  };
}

/** Names by which weft_limit_reached_total counts what a limit turned away. */
export type WaypointLimit =
  | 'connections'
  | 'connections-per-client'
  | 'handshakes'
  | 'requests'
  | 'requests-per-client'
  | 'upstream-connections'
  | 'retry-buffer'
  | 'mirrors'
  | 'mirror-buffer'
  | 'linger'
  | 'metric-series'
  | 'access-log'
  | 'log-lines';
