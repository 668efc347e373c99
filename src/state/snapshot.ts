/**
 * The compiled mesh as one value: what the control plane would send to nodes and waypoints for given manifests. Commands that evaluate
 * policies without a mesh get it from the control plane's program of the same build, so its form may change with any build.
 */
import { deserialize, serialize } from 'node:v8';
import type { Labels } from '../model/labels.js';
import type { TrustDomain } from '../model/identity.js';
import type { NodePod } from '../model/node-pod.js';
import type { Route } from '../model/route.js';
import type { ServicePolicy } from '../model/service-policy.js';
import type { ServiceKey, WorkloadUid } from '../model/workload.js';
import type { MeshUpdate } from './store.js';

/** What policies select pods by. Workloads of discovery have no labels. */
export interface SnapshotPod {
  readonly uid: WorkloadUid;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
}

export interface MeshSnapshot {
  readonly trustDomain: TrustDomain;
  readonly mesh: MeshUpdate;
  readonly pods: readonly SnapshotPod[];
  /** Enrolled pods, with what their nodes are sent. */
  readonly nodePods: readonly { readonly node: string; readonly pod: NodePod }[];
  readonly routes: readonly Route[];
  /** `waypoint`: `<namespace>/<name>` of the Gateway whose waypoint is sent the settings. */
  readonly servicePolicies: readonly { readonly waypoint: string; readonly policy: ServicePolicy }[];
  /** Services of files to which a cluster would give an address: they state none, and are not headless. */
  readonly withoutAddress: readonly ServiceKey[];
  /** `<namespace>/<name>` of the Gateways that are waypoints. */
  readonly waypoints: readonly string[];
}

/** What could not be read. */
export interface Unread {
  /** With the reason. */
  readonly text: string;
  /** Of a cluster: the objects of a kind. */
  readonly kind?: UnreadKind;
}
export interface UnreadKind {
  readonly name: string;
  /** Those of this namespace could be read; absent: none could. */
  readonly within?: string;
  readonly why: string;
}

/** The answer of `control policy-mesh`. */
export interface PolicyMeshes {
  /** Errors of the manifests to evaluate: they are not in force as written. */
  readonly errors: readonly string[];
  /** The same of the current state. */
  readonly warnings: readonly string[];
  /** What of the current state could not be read. What is said about the mesh may be wrong then. */
  readonly unread: readonly Unread[];
  /** What of the applied manifests is not evaluated. */
  readonly unevaluated: readonly string[];
  readonly before: MeshSnapshot;
  /** With the manifests to apply. */
  readonly after: MeshSnapshot;
}

/** As text, for a program of the same build. */
export const encodeMeshes = (meshes: PolicyMeshes): string => serialize(meshes).toString('base64');
/** Reads the text of `encodeMeshes`. */
export const decodeMeshes = (text: string): PolicyMeshes =>
  deserialize(Buffer.from(text, 'base64')) as PolicyMeshes;
