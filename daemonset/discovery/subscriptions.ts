/** The agent's discovery subscriptions, and the resources that it received so far. Sole owner of the pods that this node must enroll. */
import { readAddress } from '../../src/discovery/codec/address.js';
import {
  decodeEnrolledNamespace,
  decodeNodePod,
  decodeUncapturedPod,
} from '../../src/discovery/codec/node-pod.js';
import { readAuthorization } from '../../src/discovery/codec/policy.js';
import { keepOr, subscribe } from '../../src/discovery/subscription.js';
import type { DiscoveryOptions } from '../../src/discovery/client.js';
import { typeUrls } from '../../src/discovery/types.js';
import type { NodePod, UncapturedPod } from '../../src/model/node-pod.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Service } from '../../src/model/service.js';
import type { Workload, WorkloadUid } from '../../src/model/workload.js';
import type { MeshUpdate } from '../../src/state/store.js';

export interface SubscriptionHandlers {
  /** Addresses or policies changed. */
  readonly onMesh: (update: MeshUpdate) => void;
  readonly onPods: () => void;
  readonly onNamespaces: () => void;
  /** The pod of this UID has a new sandbox or is gone: the network namespace that was found for it is obsolete. */
  readonly onSandboxGone: (podUid: string) => void;
}

export class Subscriptions {
  readonly wanted = new Map<WorkloadUid, NodePod>();
  readonly uncaptured = new Map<WorkloadUid, UncapturedPod>();
  readonly enrolledNamespaces = new Set<string>();
  #addresses: (Workload | Service)[] = [];
  #policies: AuthorizationPolicy[] = [];
  #removed: readonly string[] = [];
  #removedPolicies: readonly string[] = [];

  constructor(
    private readonly handlers: SubscriptionHandlers,
    /** The namespace whose policies apply to the whole mesh; used for a policy whose scope is not understood. */
    private readonly rootNamespace: string,
  ) {}

  readonly list: DiscoveryOptions['subscriptions'] = [
    subscribe(
      typeUrls.address,
      readAddress,
      (one) => this.#addresses.push(one.kind === 'workload' ? one.workload : one.service),
      (names) => (this.#removed = [...names]),
    ),
    subscribe(
      typeUrls.authorization,
      (name, bytes) => readAuthorization(name, bytes, this.rootNamespace),
      (policy) => this.#policies.push(policy),
      (names) => (this.#removedPolicies = [...names]),
    ),
    subscribe(
      typeUrls.nodePod,
      keepOr(decodeNodePod),
      (pod) => this.#onPod(pod),
      (names) => names.forEach((name) => this.#onPodGone(name as WorkloadUid)),
    ),
    subscribe(
      typeUrls.uncapturedPod,
      keepOr(decodeUncapturedPod),
      (pod) => this.uncaptured.set(pod.uid, pod),
      (names) => names.forEach((name) => this.uncaptured.delete(name as WorkloadUid)),
    ),
    subscribe(
      typeUrls.enrolledNamespace,
      keepOr(decodeEnrolledNamespace),
      (name) => this.enrolledNamespaces.add(name),
      (names) => names.forEach((name) => this.enrolledNamespaces.delete(name)),
    ),
  ];

  /** A complete message of this type was applied. */
  onChange(typeUrl: string): void {
    if (typeUrl === typeUrls.enrolledNamespace) return this.handlers.onNamespaces();
    // A pod is released once it is an uncaptured pod. That resource may arrive after the removal of its NodePod.
    if (typeUrl === typeUrls.nodePod || typeUrl === typeUrls.uncapturedPod) return this.handlers.onPods();
    const update: MeshUpdate = {
      workloads: this.#addresses.filter((a): a is Workload => 'uid' in a),
      services: this.#addresses.filter((a): a is Service => 'key' in a),
      removed: this.#removed,
      policies: this.#policies,
      removedPolicies: this.#removedPolicies,
    };
    this.#addresses = [];
    this.#policies = [];
    this.#removed = this.#removedPolicies = [];
    this.handlers.onMesh(update);
  }

  #onPod(pod: NodePod): void {
    const before = this.wanted.get(pod.uid);
    // Another address means another sandbox, and so another network namespace.
    const moved = before && before.addresses.length > 0 && before.addresses.join() !== pod.addresses.join();
    if (before && (moved || before.podUid !== pod.podUid)) this.handlers.onSandboxGone(before.podUid);
    this.wanted.set(pod.uid, pod);
  }

  #onPodGone(uid: WorkloadUid): void {
    const before = this.wanted.get(uid);
    this.wanted.delete(uid);
    if (before) this.handlers.onSandboxGone(before.podUid);
  }
}
