/**
 * The services that connect() balances itself: those with an endpoint on this node and no waypoint. Sole owner of
 * weft_services and weft_endpoints. All other services are left to the agent.
 */
import { formatSocketAddress, type SocketAddress } from '../../src/model/address.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { affinityBuckets, preferredOf } from '../../src/state/affinity.js';
import { candidatesOf } from '../../src/state/resolve.js';
import type { MeshView } from '../../src/state/store.js';
import { isFull, type Datapath } from '../datapath/loader.js';
import {
  decodeService,
  decodeServiceKey,
  encodeEndpoint,
  encodeEndpointKey,
  encodeService,
  encodeServiceKey,
} from '../datapath/layout.js';

/** A service with more is the agent's to balance. */
const endpointsMax = 4096;

interface Written {
  readonly key: Uint8Array;
  readonly id: number;
  readonly count: number;
  readonly endpoints: string;
}

interface ServiceTable {
  readonly address: SocketAddress;
  /** The endpoints stand by bucket of the client's address, not to be chosen from at random. */
  readonly affinity: boolean;
  readonly endpoints: readonly SocketAddress[];
}

const byBucket = (endpoints: readonly SocketAddress[]): SocketAddress[] =>
  Array.from({ length: affinityBuckets }, (_, bucket) => preferredOf(endpoints, (e) => e, bucket)).filter(
    (endpoint) => endpoint !== undefined,
  );

/** Service address -> its endpoints, for services that the kernel may balance. Pure. */
export function kernelServices(
  view: MeshView,
  local: Iterable<WorkloadUid>,
  node: string,
): Map<string, ServiceTable> {
  const tables = new Map<string, ServiceTable>();
  const keys = new Set([...local].flatMap((uid) => [...(view.workload(uid)?.services.keys() ?? [])]));
  for (const key of keys) {
    const service = view.service(key);
    if (!service || service.waypoint) continue;
    for (const { ip } of service.addresses) {
      // The table is the whole node's: an address that means something else to some namespace, or by now to all, is not in it.
      if (service.scope !== undefined || view.serviceByAddress(ip, undefined) !== service) continue;
      for (const { servicePort } of service.ports) {
        const address = { ip, port: servicePort };
        const endpoints = candidatesOf(view, service, address, node).map(({ target }) => target);
        if (endpoints.length === 0 || endpoints.length > endpointsMax) continue;
        const affinity = service.sessionAffinity !== undefined;
        tables.set(formatSocketAddress(address), {
          address,
          affinity,
          endpoints: affinity ? byBucket(endpoints) : endpoints,
        });
      }
    }
  }
  return tables;
}

export class KernelServices {
  readonly #written = new Map<string, Written>();
  #nextId = 1;
  #adopted = false;

  constructor(
    private readonly datapath: Datapath,
    /** A table is full: the service is the agent's to balance. */
    private readonly onFull: () => void,
  ) {}

  refresh(view: MeshView, local: Iterable<WorkloadUid>, node: string): void {
    if (!this.#adopted) this.#adopt();
    const wanted = kernelServices(view, local, node);
    for (const name of [...this.#written.keys()]) if (!wanted.has(name)) this.#remove(name);
    for (const [name, table] of wanted) {
      const text = `${table.affinity} ${table.endpoints.map(formatSocketAddress).join(' ')}`;
      const old = this.#written.get(name);
      if (old?.endpoints === text) continue;
      this.#replace(name, table, text);
    }
  }

  /** What a former life of the agent wrote is replaced as if it had changed: unknown endpoints count as other ones. */
  #adopt(): void {
    this.#adopted = true;
    const services = this.datapath.map('weft_services');
    for (const key of services.keys()) {
      const bytes = services.lookup(key);
      if (!bytes) continue;
      const { id, count } = decodeService(bytes);
      this.#nextId = Math.max(this.#nextId, id + 1);
      this.#written.set(serviceName(key), { key, id, count, endpoints: '' });
    }
  }

  #replace(name: string, { address, affinity, endpoints }: ServiceTable, text: string): void {
    const table = this.datapath.map('weft_endpoints');
    const old = this.#written.get(name);
    const id = this.#nextId++;
    const key = encodeServiceKey(address.ip, address.port);
    // The whole new set stands before the service points to it, and the old one goes after: connect() never sees half.
    try {
      endpoints.forEach(({ ip, port }, index) =>
        table.update(encodeEndpointKey(id, index), encodeEndpoint(ip, port)),
      );
      this.datapath.map('weft_services').update(key, encodeService(id, endpoints.length, affinity));
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#remove(name);
      this.#drop({ id, count: endpoints.length });
      this.onFull();
      return;
    }
    this.#written.set(name, { key, id, count: endpoints.length, endpoints: text });
    if (old) this.#drop(old);
  }

  #remove(name: string): void {
    const old = this.#written.get(name);
    if (!old) return;
    this.#written.delete(name);
    this.datapath.map('weft_services').remove(old.key);
    this.#drop(old);
  }

  #drop({ id, count }: Pick<Written, 'id' | 'count'>): void {
    const table = this.datapath.map('weft_endpoints');
    for (let index = 0; index < count; index++) table.remove(encodeEndpointKey(id, index));
  }
}

function serviceName(key: Uint8Array): string {
  return formatSocketAddress(decodeServiceKey(key));
}
