/** Both sides' limits, as peers have them (HBONE as read from ztunnel); each is stated in docs/limits.md. */
export interface HboneLimits {
  readonly streamsPerConnectionServerMax: number;
  readonly streamsPerConnectionClientMax: number;
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
  readonly frameBytesMax: number;
  readonly headerListBytesMax: number;
  readonly handshakeTimeoutMsMax: number;
  /** Connections of a server on which nobody has shown a certificate yet; of one address half of it at most. */
  readonly handshakesMax: number;
  /** Connections of an agent's worker whose peers have shown a certificate: some 70 KiB each for as long as the peer likes; of one identity half of it at most. */
  readonly sessionsMax: number;
  /** From the request to the peer's answer; the peer itself waits 10 s for its application. */
  readonly responseTimeoutMsMax: number;
  readonly idleConnectionMsMax: number;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMsMax: number;
  /** A connection under a replaced certificate ends its tunnels at this age, not before. */
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
