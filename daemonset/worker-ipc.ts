/** Messages between the main thread and its workers: plain, structured-cloneable data. */
import type { SpiffeId } from '../src/model/identity.js';
import type { NodePod } from '../src/model/node-pod.js';
import type { WorkloadUid } from '../src/model/workload.js';
import type { MeshUpdate } from '../src/state/store.js';
import type { MetricEvent } from '../src/telemetry/metrics.js';
import type { RequestSum } from '../src/telemetry/request-sums.js';
import type { Svid } from '../src/tls/svid.js';
import type { PodNetns } from './pod/sockets.js';

/** A pod of this node that is in the mesh, with its network namespace. */
export interface LocalPod {
  readonly pod: NodePod;
  readonly netns: PodNetns;
}

export interface WorkerSettings {
  readonly node: string;
  readonly pinDir: string;
  readonly trustDomain: string;
  /** Limit of one worker; one pod may have half of them. */
  readonly connectionsMax: number;
}

export type ToWorker =
  | { readonly type: 'mesh'; readonly update: MeshUpdate }
  /** New, changed and removed pods of the node. Every worker gets them, because any worker may deliver to any pod. */
  | { readonly type: 'pods'; readonly pods: readonly LocalPod[]; readonly removed: readonly WorkloadUid[] }
  | { readonly type: 'svid'; readonly svid: Svid }
  /** Identities in use. Workers forget the keys of all others. */
  | { readonly type: 'identities'; readonly wanted: ReadonlySet<SpiffeId> }
  /** This agent is active from now on: the maps of the BPF file system are opened, or opened again. */
  | { readonly type: 'maps' }
  /**
   * Another agent owns the pods now. Listeners still accept connections that were on their way; peers are asked to open no more tunnels.
   */
  | { readonly type: 'retire' }
  /** Responds when no connection is open any more, or at the limit. */
  | { readonly type: 'when-empty'; readonly call: number; readonly timeoutMs: number }
  | { readonly type: 'assign'; readonly call: number; readonly pod: LocalPod }
  | { readonly type: 'unassign'; readonly call: number; readonly uid: WorkloadUid }
  | { readonly type: 'connections'; readonly call: number }
  | { readonly type: 'settle'; readonly call: number; readonly timeoutMs: number }
  | { readonly type: 'drain'; readonly call: number; readonly timeoutMs: number };

export type FromWorker =
  | { readonly type: 'done'; readonly call: number; readonly result?: unknown }
  | { readonly type: 'failed'; readonly call: number; readonly code: string; readonly message: string }
  | {
      readonly type: 'verdict-request';
      readonly source: WorkloadUid;
      readonly destination: WorkloadUid;
      readonly port: number;
    }
  | { readonly type: 'limit'; readonly limit: string }
  /** Connections that were opened and closed since the last of these messages, in order. */
  | { readonly type: 'connections'; readonly events: readonly MetricEvent[] }
  /** Requests that were observed since the last of these messages. */
  | { readonly type: 'requests'; readonly sums: readonly RequestSum[] }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly fields: object;
      readonly text: string;
    };
