/**
 * The field `grpc-timeout`: how long the client waits for the response (gRPC over HTTP/2, "Requests"): at most eight digits and a unit.
 */
const unitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};
const digitsMax = 100_000_000;

/** The time in milliseconds; 0: it is over already. Undefined: the value is invalid, which is ignored as in Envoy. */
export function grpcTimeoutMs(value: string): number | undefined {
  const [, digits, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(value) ?? [];
  const ofUnit = unitMs[unit];
  return digits === undefined || ofUnit === undefined ? undefined : Number(digits) * ofUnit;
}

/** The value for a time, never longer than it is. */
export function grpcTimeoutText(ms: number): string {
  const us = Math.max(0, Math.floor(ms * 1000));
  if (us < digitsMax) return `${us}u`;
  if (ms < digitsMax) return `${Math.floor(ms)}m`;
  return `${Math.min(Math.floor(ms / 1000), digitsMax - 1)}S`;
}
