/** What happens to the health of endpoints, for logs, metrics and the other workers. */
import type { TrafficAction } from '../telemetry/request-record.js';
import type { Endpoint } from './endpoint.js';
import type { EjectionKind } from './outlier/monitor.js';
import type { HealthChange } from './shared-health.js';

/** The cluster that an event is about. */
export interface HealthSubject {
  readonly cluster: string;
  /** Of the Service. */
  readonly namespace: string;
  /** `TrafficPolicy shop/api` */
  readonly policy: string;
}

/** What outlier detection did. `would`: it is in dry run. `overflow`: too many endpoints are ejected already. */
export type EjectionResult = 'ejected' | 'would' | 'overflow';

export interface HealthEvents {
  onDetected(at: HealthSubject, endpoint: Endpoint, kind: EjectionKind, result: EjectionResult): void;
  /** After `ejected` and `would`. `forMs`: until the endpoint returns. */
  onEjected(at: HealthSubject, endpoint: Endpoint, kind: EjectionKind, forMs: number, dryRun: boolean): void;
  onReturned(at: HealthSubject, endpoint: Endpoint, kind: EjectionKind, dryRun: boolean): void;
  onAction(action: TrafficAction, namespace: string): void;
  /** Passes a change on to the other workers. */
  share(change: HealthChange): void;
}
