/** What outlier detection counts for one endpoint. Only the detector writes it (detector.ts). */

/** The reason of an ejection, by the names of Envoy's metrics. */
export type EjectionKind =
  | 'consecutive_5xx'
  | 'consecutive_gateway_failure'
  | 'consecutive_local_origin_failure'
  | 'success_rate'
  | 'failure_percentage';

export interface OutlierMonitor {
  /** Failures in a row. */
  errors: number;
  gatewayErrors: number;
  localFailures: number;
  /** Of the current interval. */
  requests: number;
  successes: number;
  /** Undefined: not ejected. */
  ejected: EjectionKind | undefined;
  /** Another worker of the waypoint ejected the endpoint. */
  isEjectedElsewhere: boolean;
  ejectedMs: number;
  jitterMs: number;
  /** The factor of the ejection time: grows with each ejection, and shrinks with each interval without one. */
  factor: number;
  /** The end of the last ejection; undefined: there was none. */
  returnedMs: number | undefined;
}

export const newMonitor = (): OutlierMonitor => ({
  errors: 0,
  gatewayErrors: 0,
  localFailures: 0,
  requests: 0,
  successes: 0,
  ejected: undefined,
  isEjectedElsewhere: false,
  ejectedMs: 0,
  jitterMs: 0,
  factor: 0,
  returnedMs: undefined,
});
