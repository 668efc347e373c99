/** What the groups of the aggregated API have in common. */
import type { LineStream } from '../../src/telemetry/line-stream.js';
import type { User } from './front-proxy.js';

/** Groups that the control plane can serve: edges, and SMI's TrafficMetrics. Each has an APIService in the chart. */
export const apiGroups = ['observe.weft.dev', 'metrics.smi-spec.io'] as const;
export type ApiGroupName = (typeof apiGroups)[number];

export interface ApiResponse {
  readonly body: object;
  /** In place of the body: a response that goes on. */
  readonly stream?: LineStream;
  readonly warnings?: readonly string[];
}

export interface ApiResource {
  readonly name: string;
  readonly namespaced: boolean;
  readonly kind: string;
  readonly verbs: readonly string[];
}

export interface ApiGroup {
  readonly group: ApiGroupName;
  readonly version: string;
  readonly resources: readonly ApiResource[];
  /** Errors: StatusError. */
  respond(user: User, url: URL, accept: string): Promise<ApiResponse>;
}
