/** Messages between the main process and its workers: plain, structured-cloneable data. */
import type { Edge } from '../../model/edge.js';
import type { TakenTaps, TapSetting } from '../../telemetry/taps.js';
import type { SpiffeId } from '../../model/identity.js';
import type { Svid } from '../../tls/svid.js';
import type { SharedMemorySettings } from '../shared/shared-memory.js';
import type { WaypointUpdate } from '../state/waypoint-state.js';
import type { ClientCertificateState } from '../cluster/client-certificate.js';
import type { HealthChange } from '../cluster/shared-health.js';
import type { WaypointLimits } from '../limits.js';
import type { AccessLogMode } from '../telemetry/access-log.js';
import type { TracingOptions } from '../telemetry/tracing.js';

export interface WorkerSettings {
  readonly node: string;
  /** `<namespace>/<hostname>` of the waypoint's own Service. */
  readonly self: string;
  readonly trustDomain: string;
  readonly host: string | undefined;
  readonly port: number;
  readonly accessLog: string;
  readonly accessLogMode: AccessLogMode;
  readonly accessLogTemplate: string | undefined;
  /** Weft's rate limit service: its address, and its identity. */
  readonly rateLimiter?: { readonly target: string; readonly identity: SpiffeId } | undefined;
  readonly tracing: TracingOptions | undefined;
  /** Limits that replace the defaults. */
  readonly limits: Partial<WaypointLimits>;
  readonly mergeSlashes: boolean;
  readonly trustedProxies?: number | undefined;
}

export type ToWorker =
  /**
   * `memory`: what the workers share; undefined: there is no other worker. `index`: the worker's own among `memory.workers`. A worker that
   * replaces a dead one gets its index.
   */
  | {
      readonly type: 'start';
      readonly settings: WorkerSettings;
      readonly memory: SharedMemorySettings | undefined;
      readonly index: number;
    }
  | { readonly type: 'update'; readonly update: WaypointUpdate }
  | { readonly type: 'svid'; readonly svid: Svid }
  /** All of them. Sent before the settings that name them. */
  | { readonly type: 'client-certificates'; readonly states: readonly ClientCertificateState[] }
  /** What other workers found out about endpoints. */
  | { readonly type: 'health'; readonly changes: readonly HealthChange[] }
  /** `names` false: only metrics whose labels name no pod, principal, policy or route. */
  | { readonly type: 'metrics'; readonly call: number; readonly names: boolean }
  /** Reply with the state of all clusters. */
  | { readonly type: 'clusters'; readonly call: number }
  /** The taps that are on. */
  | { readonly type: 'taps'; readonly setting: TapSetting }
  /** Accept no new connections; requests under way have up to `timeoutMs` to end. */
  | { readonly type: 'drain'; readonly timeoutMs: number };

export type FromWorker =
  | { readonly type: 'up' }
  | { readonly type: 'listening' }
  /** To a call for metrics or clusters. */
  | { readonly type: 'reply'; readonly call: number; readonly values: object[] }
  | { readonly type: 'drained'; readonly cut: number }
  | { readonly type: 'health'; readonly changes: readonly HealthChange[] }
  /** What the worker has observed since its last message of this type. */
  | { readonly type: 'edges'; readonly edges: readonly Edge[] }
  /** What taps want, since the last message of this type. */
  | { readonly type: 'tapped'; readonly taken: TakenTaps }
  /** A token names a key that is not in the set from this URI. */
  | { readonly type: 'refetch'; readonly uri: string }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly fields: object;
      readonly text: string;
    };
