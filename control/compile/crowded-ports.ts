/** Ports that are closed because their tokens have too many issuers (jwt-filter.ts), by the RequestAuthentications that name these. */
import { namespaceOf } from '../../src/model/labels.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { MeshObject } from '../objects/objects.js';
import { isCrowded } from './jwt-filter.js';

/** Objects of one port whose status says it: each status asks for its object, so the rest costs memory for one more line. */
const objectsMax = 256;

const originOf = ({ origins }: ServicePolicy): string =>
  origins.find(({ setting }) => setting === 'authentication')?.object ?? '';

interface Ports {
  /** `<namespace>/<name>` of the objects. */
  readonly objects: ReadonlySet<string>;
  readonly ports: Set<ServicePolicy>;
}

export class CrowdedPorts {
  /** By the names of the objects: most ports of a namespace have the same. */
  readonly #byOrigin = new Map<string, Ports>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds a port if it is closed for that reason. */
  add(port: ServicePolicy): void {
    if (!isCrowded(port)) return;
    const origin = originOf(port);
    let found = this.#byOrigin.get(origin);
    if (!found) {
      const names = origin.replace(/^RequestAuthentication /, '').split(', ');
      found = { objects: new Set(names.slice(0, objectsMax)), ports: new Set() };
      this.#byOrigin.set(origin, found);
    }
    found.ports.add(port);
    this.#size++;
  }

  delete(port: ServicePolicy): void {
    const found = this.#byOrigin.get(originOf(port));
    if (!found?.ports.delete(port)) return;
    this.#size--;
    if (found.ports.size === 0) this.#byOrigin.delete(originOf(port));
  }

  /** One of the ports whose issuers are those of the object, too; undefined: there is none. */
  of(object: MeshObject): ServicePolicy | undefined {
    const name = `${namespaceOf(object)}/${object.metadata.name}`;
    for (const { objects, ports } of this.#byOrigin.values())
      if (objects.has(name)) for (const port of ports) return port;
    return undefined;
  }
}
