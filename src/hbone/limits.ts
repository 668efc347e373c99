import type { ConnectionOptions } from '../http2/http2.js';

/** Limits of both sides of HBONE, chosen like those of peers (ztunnel's source). Each is documented in docs/limits.md. */
export interface HboneLimits {
  readonly streamsPerConnectionServerMax: number;
  readonly streamsPerConnectionClientMax: number;
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
  readonly frameBytesMax: number;
  readonly headerListBytesMax: number;
  readonly handshakeTimeoutMsMax: number;
  /** Connections of a server whose peer has not presented a certificate yet. One address gets at most half of them. */
  readonly handshakesMax: number;
  /**
   * Connections of an agent's worker whose peers have presented a certificate. Each costs some 70 KiB for as long as the peer keeps it.
   * One identity gets at most half of them.
   */
  readonly sessionsMax: number;
  /** From the CONNECT request to the peer's response. The peer itself waits 10 s for its application. */
  readonly responseTimeoutMsMax: number;
  readonly idleConnectionMsMax: number;
  /** Of a request that may spread (`TunnelRequest.spread`): tunnels on one connection before another one is opened. */
  readonly spreadTunnelsMin: number;
  /** Connections that such requests spread over. Beyond them, a connection is opened only if all have `streamsPerConnectionClientMax`. */
  readonly spreadConnectionsMax: number;
  /** How long a tunnel waits for such a further connection before it uses one that is open. */
  readonly spreadWaitMsMax: number;
  /** After a further connection failed, the time until the next one is tried. */
  readonly spreadRetryMs: number;
  /** Idle time of a connection that is not the pool entry's first. */
  readonly idleSurplusMsMax: number;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMsMax: number;
  /** Tunnels of a connection whose certificate was replaced end this long after the replacement, not before. */
  readonly oldCertificateMsMax: number;
}

export const defaultLimits: HboneLimits = {
  streamsPerConnectionServerMax: 200,
  streamsPerConnectionClientMax: 100,
  streamWindowBytes: 4 << 20,
  connectionWindowBytes: 16 << 20,
  frameBytesMax: 1 << 20,
  headerListBytesMax: 16 << 10,
  handshakeTimeoutMsMax: 10_000,
  handshakesMax: 1024,
  sessionsMax: 8192,
  responseTimeoutMsMax: 15_000,
  idleConnectionMsMax: 300_000,
  spreadTunnelsMin: 8,
  spreadConnectionsMax: 4,
  spreadWaitMsMax: 250,
  spreadRetryMs: 60_000,
  idleSurplusMsMax: 30_000,
  pingIntervalMs: 10_000,
  pingTimeoutMsMax: 20_000,
  oldCertificateMsMax: 24 * 3600_000,
};

/** Header fields of a request or response: a tunnel needs few. */
const headerFieldsMax = 32;

/** Bytes of one tunnel that may be queued, beyond the buffers of its Duplex, before its writer has to wait. */
const backlogBytesMax = 256 << 10;

/** The options of an HTTP/2 connection that both sides of HBONE share. */
export const connectionOptions = (
  limits: HboneLimits,
): Omit<ConnectionOptions, 'role' | 'maxConcurrentStreams' | 'settingsTimeoutMsMax'> => ({
  streamWindowBytes: limits.streamWindowBytes,
  connectionWindowBytes: limits.connectionWindowBytes,
  frameBytesMax: limits.frameBytesMax,
  headerListBytesMax: limits.headerListBytesMax,
  // A client may open many tunnels and read one after the other: paused tunnels do not stop those that it reads. The process has a limit of
  // its own (http2/buffered-bytes.ts).
  bufferedBytesMax: limits.streamWindowBytes * limits.streamsPerConnectionServerMax,
  headerFieldsMax,
  backlogBytesMax,
  // A peer that does not finish a header block cannot acknowledge a PING either, which ends the connection (keepalive.ts).
  headerBlockTimeoutMsMax: 0,
});
