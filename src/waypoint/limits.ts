/** Limits and timeouts of one waypoint. docs/waypoint.md documents each. */
export interface WaypointLimits {
  /** Bytes of the request or status line and the headers together; more is 431 (client) or 502 (upstream). */
  readonly headBytesMax: number;
  readonly headersMax: number;
  /** Time from a request's first byte to the end of its headers, and to the first byte of a new connection; 0: no limit. */
  readonly headTimeoutMsMax: number;
  /** Time without a byte of the request's body, while it is incomplete and no response has begun; 0: no limit. Rules may override it. */
  readonly bodyIdleMsMax: number;
  /** Time of a client's connection without a request; 0: no limit. */
  readonly idleConnectionMsMax: number;
  /** The same, while the waypoint drains. */
  readonly drainIdleMs: number;
  /** Time of an upstream connection without a request; shorter than the idle timeouts that servers commonly have. */
  readonly idleUpstreamMsMax: number;
  /** Time without a byte in either direction, before the response begins; 0: no limit. Rules may override it. */
  readonly streamIdleMsMax: number;
  /** The same after the response has begun, for gRPC, and for upgraded connections (WebSocket); 0: no limit. */
  readonly openIdleMsMax: number;
  /** Time without progress of a mirrored request: the mirror neither accepts nor sends bytes. */
  readonly mirrorIdleMsMax: number;
  /** Time for a client to read the rest of a response when its connection is about to close. */
  readonly lingerMsMax: number;
  /** Limits of discarding an upload after its response: time without a byte, total time, and bytes. nginx has the same two timeouts. */
  readonly discardIdleMsMax: number;
  readonly discardMsMax: number;
  readonly discardBytesMax: number;
  readonly connectTimeoutMsMax: number;
  /** Interim responses (1xx) before the final one. */
  readonly interimMax: number;
  readonly chunkExtensionBytesMax: number;
  /** Bytes of a request's replay buffer, for rules with retries. */
  readonly retryBufferBytesMax: number;
  /** Bytes that may be queued for a reader before its source is paused. */
  readonly backlogBytesMax: number;
  /** Mirrored requests under way. */
  readonly mirrorsMax: number;
  /** Bytes of one mirrored request that its mirror has not accepted yet. */
  readonly mirrorBufferBytesMax: number;
  /** The same for all mirrors of a worker. */
  readonly mirrorBuffersBytesMax: number;
  readonly connectionsMax: number;
  readonly requestsMax: number;
  /** Connections to one endpoint for one client. */
  readonly connectionsPerEndpointMax: number;
  /** Time to wait for the first bytes if the protocol has to be detected. */
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

/** The timeouts of the command line, in milliseconds. An absent option keeps the default. */
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

/** Values of the label `limit` of weft_limit_reached_total. */
export type WaypointLimit =
  | 'connections'
  | 'connections-per-client'
  | 'handshakes'
  | 'requests'
  | 'requests-per-client'
  | 'upstream-connections'
  | 'pending-requests'
  | 'cluster-requests'
  | 'cluster-connections'
  | 'rate-limit-keys'
  | 'shared-counts'
  | 'rate-limit-buckets'
  | 'retry-budget'
  | 'retry-buffer'
  | 'mirrors'
  | 'mirror-buffer'
  | 'health-checks'
  | 'linger'
  | 'rate-limit-leases'
  | 'rate-limit-waiting'
  | 'external-authorization-waiting'
  | 'external-authorization-cache'
  | 'external-authorization-bodies'
  | 'http2-flood'
  | 'metric-series'
  | 'access-log'
  | 'log-lines'
  | 'edges'
  | 'client-certificates'
  | 'path-templates'
  | 'jwt-token'
  | 'jwt-tokens'
  | 'jwt-verifications';
