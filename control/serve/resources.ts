/** What there is to tell, by type and name, each with a version that changes with its bytes. */
import { createHash } from 'node:crypto';
import {
  encodeAuthorization,
  encodeNodePod,
  encodeService,
  encodeWorkload,
} from '../../src/discovery/encode.js';
import { typeUrls } from '../../src/discovery/types.js';
import type { Compiled } from '../compile/compile.js';

export interface Resource {
  readonly version: string;
  readonly bytes: Uint8Array;
}
export type ResourceSet = ReadonlyMap<string, Resource>;

const resource = (bytes: Uint8Array): Resource => ({
  version: createHash('sha256').update(bytes).digest('base64url').slice(0, 16),
  bytes,
});

export class Snapshot {
  readonly #addresses: ResourceSet;
  readonly #policies: ResourceSet;
  readonly #nodePods = new Map<string, ResourceSet>();

  constructor(compiled: Compiled) {
    this.#addresses = new Map([
      ...compiled.workloads.map((w): [string, Resource] => [w.uid, resource(encodeWorkload(w))]),
      ...compiled.services.map((s): [string, Resource] => [s.key, resource(encodeService(s))]),
    ]);
    this.#policies = new Map(compiled.policies.map((p) => [p.key, resource(encodeAuthorization(p))]));
    for (const [node, pods] of compiled.nodePods) {
      this.#nodePods.set(node, new Map(pods.map((pod) => [pod.uid, resource(encodeNodePod(pod))])));
    }
  }

  /** What `node` may know of a type; undefined for types that are not served. */
  of(typeUrl: string, node: string): ResourceSet | undefined {
    if (typeUrl === typeUrls.address) return this.#addresses;
    if (typeUrl === typeUrls.authorization) return this.#policies;
    if (typeUrl === typeUrls.nodePod) return this.#nodePods.get(node) ?? new Map();
    return undefined;
  }
}
