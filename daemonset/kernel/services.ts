/**
 * The Services that the connect() hook balances: those with an endpoint on this node and no waypoint. The agent balances all others.
 * maps/services.ts and maps/endpoints.ts write the rows; this module decides the order of the writes.
 */
import { formatSocketAddress, type SocketAddress } from '../../src/model/address.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { kernelServiceObstacle } from '../../src/path/kernel-path.js';
import { affinityBuckets, preferredOf } from '../../src/state/affinity.js';
import { candidatesOf } from '../../src/state/resolve.js';
import type { MeshView } from '../../src/state/store.js';
import type { EndpointSet } from '../maps/endpoints.js';
import type { NodeMaps } from '../maps/node-maps.js';
import { isFull } from '../maps/pinned.js';

/** The agent balances Services with more endpoints. */
const endpointsMax = 4096;

interface Written {
  readonly address: SocketAddress;
  readonly set: EndpointSet;
  /** Contents of the endpoint set, as text; empty if unknown. */
  readonly endpoints: string;
}

interface KernelService {
  readonly address: SocketAddress;
  /** The endpoints are indexed by bucket of the client's address; otherwise the hook picks one at random. */
  readonly affinity: boolean;
  readonly endpoints: readonly SocketAddress[];
}

const byBucket = (endpoints: readonly SocketAddress[]): SocketAddress[] =>
  Array.from({ length: affinityBuckets }, (_, bucket) => preferredOf(endpoints, (e) => e, bucket)).filter(
    (endpoint) => endpoint !== undefined,
  );

/** Service address -> its endpoints, for Services that the kernel may balance. Pure. */
export function kernelServices(
  view: MeshView,
  local: Iterable<WorkloadUid>,
  node: string,
): Map<string, KernelService> {
  const services = new Map<string, KernelService>();
  const keys = new Set([...local].flatMap((uid) => [...(view.workload(uid)?.services.keys() ?? [])]));
  for (const key of keys) {
    const service = view.service(key);
    if (!service) continue;
    for (const { ip } of service.addresses) {
      if (kernelServiceObstacle(view, service, ip) !== undefined) continue;
      for (const { servicePort } of service.ports) {
        const address = { ip, port: servicePort };
        const endpoints = candidatesOf(view, service, address, node).map(({ target }) => target);
        if (endpoints.length === 0 || endpoints.length > endpointsMax) continue;
        const affinity = service.sessionAffinity !== undefined;
        services.set(formatSocketAddress(address), {
          address,
          affinity,
          endpoints: affinity ? byBucket(endpoints) : endpoints,
        });
      }
    }
  }
  return services;
}

export class KernelServices {
  readonly #written = new Map<string, Written>();
  #nextId = 1;
  #adopted = false;

  constructor(
    private readonly maps: Pick<NodeMaps, 'services' | 'endpoints'>,
    /** A map is full: the agent balances the Service. */
    private readonly onFull: () => void,
  ) {}

  refresh(view: MeshView, local: Iterable<WorkloadUid>, node: string): void {
    if (!this.#adopted) this.#adopt();
    const wanted = kernelServices(view, local, node);
    for (const name of [...this.#written.keys()]) if (!wanted.has(name)) this.#remove(name);
    for (const [name, service] of wanted) {
      const text = `${service.affinity} ${service.endpoints.map(formatSocketAddress).join(' ')}`;
      if (this.#written.get(name)?.endpoints === text) continue;
      this.#replace(name, service, text);
    }
  }

  /** Adopts the rows of a previous agent. Their endpoints are unknown, so each set is replaced as if it had changed. */
  #adopt(): void {
    this.#adopted = true;
    for (const { address, set } of this.maps.services.entries()) {
      this.#nextId = Math.max(this.#nextId, set.id + 1);
      this.#written.set(formatSocketAddress(address), { address, set, endpoints: '' });
    }
  }

  #replace(name: string, { address, affinity, endpoints }: KernelService, text: string): void {
    const old = this.#written.get(name);
    const set: EndpointSet = { id: this.#nextId++, count: endpoints.length };
    // The new set is complete before the Service refers to it, and the old set is removed after: connect() never sees a partial set.
    try {
      this.maps.endpoints.put(set.id, endpoints);
      this.maps.services.put(address, set, affinity);
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#remove(name);
      this.maps.endpoints.remove(set);
      this.onFull();
      return;
    }
    this.#written.set(name, { address, set, endpoints: text });
    if (old) this.maps.endpoints.remove(old.set);
  }

  #remove(name: string): void {
    const old = this.#written.get(name);
    if (!old) return;
    this.#written.delete(name);
    this.maps.services.remove(old.address);
    this.maps.endpoints.remove(old.set);
  }
}
