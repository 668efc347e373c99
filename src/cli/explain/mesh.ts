/** A compiled mesh in which single connections are explained. */
import type { NodePod } from '../../model/node-pod.js';
import { refusedWaypointOf } from '../../model/refused-waypoint.js';
import type { Service } from '../../model/service.js';
import type { ServiceKey, WaypointRef, Workload, WorkloadUid } from '../../model/workload.js';
import { spiffeIdOf } from '../../model/identity.js';
import { parseIp, type IpAddress } from '../../model/address.js';
import { waypointNameOf } from '../../state/mesh-part.js';
import type { MeshSnapshot } from '../../state/snapshot.js';
import { WaypointState } from '../../waypoint/state/waypoint-state.js';
import { PolicyMesh } from '../policy/policy-mesh.js';

export class ExplainMesh {
  readonly names: PolicyMesh;
  readonly #pods = new Map<WorkloadUid, { readonly node: string; readonly pod: NodePod }>();
  readonly #waypoints = new Map<string, WaypointState>();

  constructor(readonly snapshot: MeshSnapshot) {
    this.names = new PolicyMesh(snapshot);
    for (const one of snapshot.nodePods) this.#pods.set(one.pod.uid, one);
  }

  get view(): PolicyMesh['view'] {
    return this.names.view;
  }

  /** What a pod's node is sent, if the pod is enrolled. */
  enrolled(uid: WorkloadUid): { readonly node: string; readonly pod: NodePod } | undefined {
    return this.#pods.get(uid);
  }

  /** The state of the waypoint behind a Service's key, as a replica on `node` has it. */
  waypoint(key: ServiceKey, node: string): WaypointState {
    const id = `${key} ${node}`;
    let state = this.#waypoints.get(id);
    if (!state) {
      state = new WaypointState(node, key);
      const name = waypointNameOf(key);
      const { mesh, routes, servicePolicies } = this.snapshot;
      state.apply({ mesh });
      state.apply({
        routes,
        servicePolicies: servicePolicies
          .filter(({ waypoint }) => waypoint === name)
          .map(({ policy }) => policy),
      });
      this.#waypoints.set(id, state);
    }
    return state;
  }
}

const low = (number: number): string => (number % 0x10000).toString(16);
const high = (number: number): string => Math.floor(number / 0x10000).toString(16);
/** The discard-only prefix (RFC 6666), apart from the addresses of pods that are made of templates. */
const assumedAddress = (block: number, number: number): IpAddress =>
  parseIp(`100::${block}:0:${high(number)}:${low(number)}`);
/** In a block that is reserved for future use (RFC 1112). */
const assumedV4 = (number: number): IpAddress =>
  parseIp(`240.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`);

/** The mesh with what a cluster would add to manifests: addresses of Services, and pods of waypoints. Pure. */
export function asInCluster(snapshot: MeshSnapshot): ReturnType<typeof withWaypoints> {
  return withWaypoints(withAddresses(snapshot));
}

function withAddresses(snapshot: MeshSnapshot): MeshSnapshot {
  const { mesh, withoutAddress } = snapshot;
  if (withoutAddress.length === 0) return snapshot;
  const numbers = new Map(withoutAddress.map((key, i) => [key, i + 1]));
  const services = (mesh.services ?? []).map((service) => {
    const number = numbers.get(service.key);
    return number === undefined || service.addresses.length > 0
      ? service
      : {
          ...service,
          addresses: [assumedV4(number), assumedAddress(2, number)].map((ip) => ({ network: '', ip })),
        };
  });
  return { ...snapshot, mesh: { ...mesh, services } };
}

/**
 * The mesh with a ready replica for each waypoint that nothing runs yet, because only its Gateway is known: manifests alone have no pods of
 * waypoints. Returns the names of these waypoints, too. Pure.
 */
function withWaypoints(snapshot: MeshSnapshot): {
  readonly snapshot: MeshSnapshot;
  readonly assumed: readonly string[];
} {
  const { mesh, waypoints, trustDomain } = snapshot;
  const { services = [], workloads = [] } = mesh;
  const known = new Set(services.map(({ key }) => key));
  const wanted = new Set(waypoints);
  const missing = new Map<string, WaypointRef & { kind: 'hostname' }>();
  for (const { waypoint } of [...services, ...workloads]) {
    if (waypoint?.kind !== 'hostname' || refusedWaypointOf(waypoint) !== undefined) continue;
    const name = waypointNameOf(waypoint.service);
    if (wanted.has(name) && !known.has(waypoint.service)) missing.set(name, waypoint);
  }
  if (missing.size === 0) return { snapshot, assumed: [] };
  const made = [...missing].map(([full, reference], i) => {
    const [namespace = '', name = ''] = full.split('/');
    const ports = [
      {
        servicePort: reference.hbonePort,
        targetPort: reference.hbonePort,
        appProtocol: 'unknown' as const,
      },
    ];
    const service: Service = {
      key: reference.service,
      name,
      namespace,
      hostname: reference.service.slice(namespace.length + 1),
      addresses: [],
      ports,
      subjectAltNames: [],
    };
    const workload: Workload = {
      uid: `Kubernetes//Pod/${namespace}/${name} (assumed)` as WorkloadUid,
      name: `${name} (assumed)`,
      namespace,
      identity: spiffeIdOf({ trustDomain, namespace, serviceAccount: name }),
      serviceAccount: name,
      addresses: [assumedAddress(1, i + 1)],
      network: '',
      node: '',
      cluster: 'Kubernetes',
      tunnel: 'hbone',
      nativeTunnel: true,
      policies: [],
      healthy: true,
      hostNetwork: false,
      services: new Map([[reference.service, ports]]),
      workloadName: name,
      workloadType: 'deployment',
      canonicalName: name,
      canonicalRevision: 'latest',
    };
    return { service, workload };
  });
  return {
    snapshot: {
      ...snapshot,
      mesh: {
        ...mesh,
        services: [...services, ...made.map(({ service }) => service)],
        workloads: [...workloads, ...made.map(({ workload }) => workload)],
      },
    },
    assumed: [...missing.keys()],
  };
}
