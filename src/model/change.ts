/** What changed in the mesh, as the control plane remembers it (`weft changes`). */

/** Who wrote an object's current content, as far as the source says. */
export interface ChangeOrigin {
  /** Field manager on Kubernetes. */
  readonly by?: string;
  /** File of manifests. */
  readonly file?: string;
  /** Version of the object on Kubernetes: replicas of the control plane report the same change. */
  readonly version?: string;
}

export interface ChangeReceiver {
  /** A node, or a waypoint with its pod. */
  readonly name: string;
  /** When it acknowledged the change; absent: it has not. */
  readonly acknowledgedMs?: number;
  /** Why it did not accept a resource of the response that had the change. */
  readonly refused?: string;
}

/** A change of an object that changed what the control plane serves. */
export interface Change extends ChangeOrigin {
  readonly kind: string;
  /** Empty: an object of the cluster. */
  readonly namespace: string;
  readonly name: string;
  readonly operation: 'created' | 'updated' | 'deleted';
  readonly timeMs: number;
  /** Discovery resources that were updated or removed by it, and by what changed together with it. */
  readonly resources: number;
  /** Those to which it was sent. */
  readonly receivers: readonly ChangeReceiver[];
  /** Receivers that are not listed, because the limit is reached, by what they had done until then. */
  readonly omitted?: { readonly acknowledged: number; readonly waiting: number };
}

export interface ChangeQuery {
  /** Of its objects, and of the Namespace itself; undefined: of all. */
  readonly namespace?: string | undefined;
  /** Milliseconds since the epoch: changes since then. */
  readonly sinceMs: number;
}

export interface ChangesAnswer {
  /** The oldest first. */
  readonly changes: readonly Change[];
  /** Since when changes are kept: the start of the control plane. */
  readonly sinceMs: number;
  /** Replicas that did not answer. */
  readonly missing: readonly string[];
}
