/** How the ends of edges, and of the events of taps, are named. Pure. */
import type { WorkloadState } from './mesh-snapshot.js';

/** What names an end. */
interface NamedParty {
  readonly namespace: string;
  readonly workload: string;
  readonly identity?: string | undefined;
}

/** The name of an end: its workload, else its identity, else its namespace. */
export const nameOf = ({ namespace, workload, identity }: NamedParty): string =>
  workload !== '' && namespace !== '' ? `${namespace}/${workload}` : (identity ?? (namespace || 'unknown'));

/** The name of the destination. The Service stands for a destination of which no endpoint is known. */
export const destinationOf = ({
  destination,
  service,
}: {
  readonly destination: NamedParty;
  readonly service: string;
}): string => (destination.workload === '' && service !== '' ? service : nameOf(destination));

/** `NAME:PORT`; the name alone if the port is not known, which is 0. */
export const nameWithPort = (name: string, port: number): string => (port === 0 ? name : `${name}:${port}`);

/** The namespace of `NAMESPACE/WORKLOAD`; empty for other names, such as identities, addresses and host names. */
export const namespaceOf = (name: string): string => /^([a-z0-9-]+)\/[^/]+$/.exec(name)?.[1] ?? '';

/** A workload that only edges name. */
export function observedOnly(id: string): WorkloadState {
  const namespace = namespaceOf(id);
  const name = namespace === '' ? id : id.slice(namespace.length + 1);
  return { id, namespace, name, pods: [], services: [], isObservedOnly: true };
}
