/**
 * What the control plane sends to `weft explain`: the compiled resources that concern two ends, each in the form in which agents and waypoints are
 * sent it, so that a program of another version reads them as these do.
 */

/** A resource of discovery. */
export interface EncodedMeshResource {
  readonly typeUrl: string;
  readonly name: string;
  /** Of a NodePod: its node. Of a ServicePolicy: `<namespace>/<name>` of the Gateway whose waypoint is sent it. Else empty. */
  readonly receiver: string;
  /** In base64. */
  readonly value: string;
}

export const meshEnds = ['source', 'destination'] as const;
export type MeshEnd = (typeof meshEnds)[number];

export interface ExplainedMesh {
  readonly resources: readonly EncodedMeshResource[];
  readonly trustDomain: string;
  readonly rootNamespace: string;
  /** Services of files without an address, to which a cluster would give one. */
  readonly withoutAddress: readonly string[];
  /** `<namespace>/<name>` of the Gateways that are waypoints. */
  readonly waypoints: readonly string[];
  /** Namespaces that decide, too, and which the caller may not read. Then there are only resources of `ends`. */
  readonly hidden: readonly string[];
  /** If there are hidden namespaces: the ends that the caller may read. The resources are what concerns each of them alone. */
  readonly ends: readonly MeshEnd[];
}

/** In `hidden`: a namespace that is not named, because the caller does not learn which one has an address. */
export const unnamedNamespace = 'of an address';

export const explainLimits = {
  /** Of a response. What concerns more is read as objects. */
  resources: 20_000,
  bytes: 8 << 20,
  /** Characters of a name in a question. */
  nameChars: 512,
} as const;
