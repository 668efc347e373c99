/** What the main thread and its workers say to each other: plain, structured-cloneable data. */
import type { SpiffeId } from '../src/model/identity.js';
import type { NodePod } from '../src/model/node-pod.js';
import type { WorkloadUid } from '../src/model/workload.js';
import type { MeshUpdate } from '../src/state/store.js';
import type { MetricEvent } from '../src/telemetry/metrics.js';
import type { Svid } from '../src/tls/svid.js';
import type { PodNetns } from './pod/sockets.js';

/** A pod of this node that is in the mesh, and where it is. */
export interface LocalPod {
  readonly pod: NodePod;
  readonly netns: PodNetns;
}

export interface WorkerSettings {
  readonly node: string;
  readonly pinDir: string;
  readonly trustDomain: string;
  /** Of one worker; a pod may have half of them. */
  readonly connectionsMax: number;
}

export type ToWorker =
  | { readonly type: 'mesh'; readonly update: MeshUpdate }
  /** Pods of the node that are new or have changed, and those that have left: any worker delivers to any of them. */
  | { readonly type: 'pods'; readonly pods: readonly LocalPod[]; readonly removed: readonly WorkloadUid[] }
  | { readonly type: 'svid'; readonly svid: Svid }
  /** Keys of all other identities are forgotten. */
  | { readonly type: 'identities'; readonly wanted: ReadonlySet<SpiffeId> }
  /** This agent writes from now on: the maps of the BPF file system are opened, anew where they were before. */
  | { readonly type: 'maps' }
  /** Another agent has the pods now: listeners accept what was on its way, peers are told to open no more tunnels. */
  | { readonly type: 'retire' }
  /** Done when nobody is connected any more, or at the limit. */
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
  /** What began and ended since the last of these, in order. */
  | { readonly type: 'connections'; readonly events: readonly MetricEvent[] }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly fields: object;
      readonly text: string;
    };
