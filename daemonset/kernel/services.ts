/**
 * The services that connect() balances itself: those with an endpoint on this node and no waypoint. Sole owner of
 * weft_services and weft_endpoints. All other services are left to the agent.
 */
import { formatSocketAddress, type SocketAddress } from '../../src/model/address.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { candidatesOf } from '../../src/state/resolve.js';
import type { MeshView } from '../../src/state/store.js';
import type { Datapath } from '../datapath/loader.js';
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

/** Service address -> its endpoints, for services that the kernel may balance. Pure. */
export function kernelServices(
  view: MeshView,
  local: Iterable<WorkloadUid>,
  node: string,
): Map<string, { readonly address: SocketAddress; readonly endpoints: readonly SocketAddress[] }> {
  const tables = new Map<string, { address: SocketAddress; endpoints: SocketAddress[] }>();
  const keys = new Set([...local].flatMap((uid) => [...(view.workload(uid)?.services.keys() ?? [])]));
  for (const key of keys) {
    const service = view.service(key);
    if (!service || service.waypoint) continue;
    for (const { ip } of service.addresses) {
      // Another service may hold the address by now.
      if (view.serviceByAddress(ip) !== service) continue;
      for (const { servicePort } of service.ports) {
        const address = { ip, port: servicePort };
        const endpoints = candidatesOf(view, service, address, node).map(({ target }) => target);
        if (endpoints.length > 0 && endpoints.length <= endpointsMax)
          tables.set(formatSocketAddress(address), { address, endpoints });
      }
    }
  }
  return tables;
}

export class KernelServices {
  readonly #written = new Map<string, Written>();
  #nextId = 1;
  #adopted = false;

  constructor(private readonly datapath: Datapath) {}

  refresh(view: MeshView, local: Iterable<WorkloadUid>, node: string): void {
    if (!this.#adopted) this.#adopt();
    const wanted = kernelServices(view, local, node);
    for (const [name, { address, endpoints }] of wanted) {
      const text = endpoints.map(formatSocketAddress).join(' ');
      const old = this.#written.get(name);
      if (old?.endpoints === text) continue;
      this.#replace(name, address, endpoints, text);
    }
    for (const name of [...this.#written.keys()]) if (!wanted.has(name)) this.#remove(name);
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

  #replace(name: string, address: SocketAddress, endpoints: readonly SocketAddress[], text: string): void {
    const table = this.datapath.map('weft_endpoints');
    const old = this.#written.get(name);
    const id = this.#nextId++;
    const key = encodeServiceKey(address.ip, address.port);
    // The whole new set stands before the service points to it, and the old one goes after: connect() never sees half.
    endpoints.forEach(({ ip, port }, index) =>
      table.update(encodeEndpointKey(id, index), encodeEndpoint(ip, port)),
    );
    this.datapath.map('weft_services').update(key, encodeService(id, endpoints.length));
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

  #drop({ id, count }: Written): void {
    const table = this.datapath.map('weft_endpoints');
    for (let index = 0; index < count; index++) table.remove(encodeEndpointKey(id, index));
  }
}

function serviceName(key: Uint8Array): string {
  return formatSocketAddress(decodeServiceKey(key));
}
