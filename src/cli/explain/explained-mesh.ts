/** Reads what the control plane says concerns two ends, by the decoders of agents and waypoints. */
import { decodeNodePod } from '../../discovery/codec/node-pod.js';
import { typeUrls, type TypeUrl } from '../../discovery/types.js';
import type { EncodedMeshResource, ExplainedMesh } from '../../model/explained-mesh.js';
import { parseTrustDomain } from '../../model/identity.js';
import type { MeshSnapshot } from '../../state/snapshot.js';
import type { ServiceKey } from '../../model/workload.js';
import { PendingUpdate } from '../../waypoint/discovery.js';

export interface ReadMesh {
  readonly snapshot: MeshSnapshot;
  /** What could not be decoded. It was read in its closed form, or not at all, as agents and waypoints do. */
  readonly problems: readonly string[];
}

/** Decodes the resources as agents and waypoints of this version do. */
export function readMesh(explained: ExplainedMesh): ReadMesh {
  const { resources, rootNamespace, trustDomain, withoutAddress, waypoints } = explained;
  const nodePods: MeshSnapshot['nodePods'][number][] = [];
  const servicePolicies: MeshSnapshot['servicePolicies'][number][] = [];
  const problems: string[] = [];
  const readerOf = (pending: PendingUpdate): ((one: EncodedMeshResource) => void) => {
    const all = new Map(
      pending.subscriptions(rootNamespace, () => undefined).map((one) => [one.typeUrl, one]),
    );
    return ({ typeUrl, name, value }) => {
      const read = all.get(typeUrl as TypeUrl)?.decode(name, Buffer.from(value, 'base64'));
      if (read?.ok === true) return read.value();
      read?.closedForm?.();
      problems.push(`${name}: ${read ? read.errors.join('; ') : 'its type is not known'}`);
    };
  };
  const pending = new PendingUpdate();
  const ofPort = new PendingUpdate();
  const [read, readSettings] = [readerOf(pending), readerOf(ofPort)];
  for (const one of resources)
    if (one.typeUrl === typeUrls.nodePod) {
      const pod = decodeNodePod(Buffer.from(one.value, 'base64'));
      if (pod.ok) nodePods.push({ node: one.receiver, pod: pod.value });
      else problems.push(`${one.name}: ${pod.errors.join('; ')}`);
    } else if (one.typeUrl === typeUrls.servicePolicy) {
      readSettings(one);
      for (const policy of ofPort.take()?.servicePolicies ?? [])
        servicePolicies.push({ waypoint: one.receiver, policy });
    } else read(one);
  const { mesh = {}, routes = [] } = pending.take() ?? {};
  const snapshot: MeshSnapshot = {
    trustDomain: parseTrustDomain(trustDomain),
    mesh,
    pods: [],
    nodePods,
    routes,
    servicePolicies,
    withoutAddress: withoutAddress as readonly ServiceKey[],
    waypoints,
  };
  return { snapshot, problems };
}
