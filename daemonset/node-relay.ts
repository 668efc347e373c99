/**
 * What relays the bytes of the pods' connections, where the kernel does not: worker threads of this process (workers.ts), or a carrier, a
 * process of its own (carrier/carrier-relay.ts). The agent's parts see only this.
 */
import type { SpiffeId } from '../src/model/identity.js';
import type { RelayStatus } from '../src/model/relay.js';
import type { WorkloadUid } from '../src/model/workload.js';
import type { MeshChange } from '../src/state/change.js';
import type { MeshUpdate } from '../src/state/store.js';
import type { LocalPod } from './worker-ipc.js';

/** A relay lists its connections within this. Callers of the agent's admin endpoints wait 5 s (src/cli/admin.ts): they get what is there, and what is missing. */
export const listMsMax = 2_000;

export interface NodeRelay {
  /** This agent owns the node from now on, maybe for a second time, and the datapath's maps exist: pods may be assigned. */
  openMaps(): void;
  /** This agent hands the node over: nothing of the node may be written from now on. Connections continue. */
  release(): void;
  /** The pods belong to another agent now. */
  retire(): void;
  /** The view has changed. Called after the view has applied the update. */
  onMesh(update: MeshUpdate, change: MeshChange): void;
  /** Identities in use. Keys of all others are forgotten. */
  onIdentities(wanted: ReadonlySet<SpiffeId>): void;
  /** The pods of this node that are in the mesh. */
  sync(pods: ReadonlyMap<WorkloadUid, LocalPod>): void;
  /**
   * Creates the pod's listeners, or updates its settings. Errors: WEFT_LISTEN, WEFT_DRAINING, WEFT_WORKER_SILENT, WEFT_WORKER_DIED,
   * WEFT_NO_CARRIER.
   */
  assign(local: LocalPod): Promise<void>;
  /** The pod leaves the mesh: its listeners close, its connections continue. */
  unassign(uid: WorkloadUid): Promise<void>;
  /** Decisions that rest on the current view may be used for this long. Called each second while the view and the pods are complete. */
  renewLease(ms: number): void;
  /** Open connections, for `weft dump`. */
  connections(): Promise<object[]>;
  status(): RelayStatus;
  /** Resolves when the connections that would end with this process have ended, or at the limit. New ones are accepted meanwhile. */
  settle(timeoutMs: number): Promise<void>;
  /** Resolves when no connection is open that would end with this process, or at the limit. */
  whenEmpty(timeoutMs: number): Promise<void>;
  /** Ends this process's part. Resolves with how many connections were closed at the limit. */
  drain(timeoutMs: number): Promise<number>;
  /** Call it each second. */
  tick(): void;
}
