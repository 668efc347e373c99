/**
 * Codecs of Weft's own resources for the agent of a node or for a waypoint: pods to enroll, pods that are not captured and why, enrolled
 * namespaces, and the version of the trusted roots.
 */
import type { Decoded } from '../../base/errors.js';
import { ipFromBytes, parseCidr } from '../../model/address.js';
import { parseSpiffeId } from '../../model/identity.js';
import type { NodePod, UncapturedPod, UncapturedReason } from '../../model/node-pod.js';
import type { WorkloadUid } from '../../model/workload.js';
import { nodePodShape } from '../gen/shapes.js';
import * as pb from '../gen/weft.js';
import { attempt, bytesOf, need } from './decoding.js';
import { unknownFields, unknownText } from './unknown-fields.js';

export function encodeNodePod(pod: NodePod): Uint8Array {
  return pb.NodePod.encode({
    ...pod,
    addresses: pod.addresses.map(bytesOf),
    excludeOutboundCidrs: pod.excludeOutboundCidrs.map(({ ip, prefixLength }) => `${ip}/${prefixLength}`),
    outboundUnknownRefused: pod.outboundUnknown === 'refuse',
    plaintextWithoutAgent: pod.agentDown === 'plaintext',
    sameNodeEncrypted: pod.sameNode === 'encrypted',
    outboundHosts: pod.outboundHosts ?? [],
    outboundHostsBounded: pod.outboundHosts !== undefined,
  }).finish();
}

export function decodeNodePod(bytes: Uint8Array): Decoded<NodePod> {
  return attempt(() => {
    const {
      outboundUnknownRefused,
      plaintextWithoutAgent,
      sameNodeEncrypted,
      outboundHosts,
      outboundHostsBounded,
      ...message
    } = pb.NodePod.decode(bytes);
    // An unknown field may restrict the pod. The pod therefore keeps its previous version, and a new pod waits.
    const [unknown] = unknownFields(bytes, nodePodShape);
    if (unknown !== undefined) throw new Error(unknownText(unknown));
    return {
      ...message,
      uid: need(message.uid, 'uid') as WorkloadUid,
      name: need(message.name, 'name'),
      namespace: need(message.namespace, 'namespace'),
      identity: parseSpiffeId(message.identity),
      addresses: message.addresses.map(ipFromBytes),
      excludeOutboundCidrs: message.excludeOutboundCidrs.map(parseCidr),
      outboundUnknown: outboundUnknownRefused ? 'refuse' : 'allow',
      ...(outboundHostsBounded || outboundHosts.length > 0 ? { outboundHosts } : {}),
      agentDown: plaintextWithoutAgent ? 'plaintext' : 'refuse',
      sameNode: sameNodeEncrypted ? 'encrypted' : 'kernel',
    };
  });
}

export function encodeUncapturedPod(pod: UncapturedPod): Uint8Array {
  return pb.UncapturedPod.encode(pod).finish();
}

export function decodeUncapturedPod(bytes: Uint8Array): Decoded<UncapturedPod> {
  return attempt(() => {
    const message = pb.UncapturedPod.decode(bytes);
    return {
      ...message,
      uid: need(message.uid, 'uid') as WorkloadUid,
      name: need(message.name, 'name'),
      namespace: need(message.namespace, 'namespace'),
      // A reason of a newer control plane is displayed unchanged.
      reason: need(message.reason, 'reason') as UncapturedReason,
    };
  });
}

export function encodeEnrolledNamespace(name: string): Uint8Array {
  return pb.EnrolledNamespace.encode({ name }).finish();
}

export function decodeEnrolledNamespace(bytes: Uint8Array): Decoded<string> {
  return attempt(() => need(pb.EnrolledNamespace.decode(bytes).name, 'name'));
}

/** Names a waypoint to the rate limit service. */
export function encodeWaypoint(waypoint: { readonly namespace: string; readonly name: string }): Uint8Array {
  return pb.Waypoint.encode(waypoint).finish();
}

/** `<namespace>/<name>` */
export function decodeWaypoint(bytes: Uint8Array): Decoded<string> {
  return attempt(() => {
    const { namespace, name } = pb.Waypoint.decode(bytes);
    return `${need(namespace, 'namespace')}/${need(name, 'name')}`;
  });
}

/** @param version of the trusted roots */
export function encodeTrust(version: string): Uint8Array {
  return pb.Trust.encode({ version }).finish();
}

export function decodeTrust(bytes: Uint8Array): Decoded<string> {
  return attempt(() => need(pb.Trust.decode(bytes).version, 'version'));
}
