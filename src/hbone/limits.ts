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
  pingIntervalMs: 10_000,
  pingTimeoutMsMax: 20_000,
  oldCertificateMsMax: 24 * 3600_000,
};
