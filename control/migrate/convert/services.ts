/** The Services that the converted objects are about, as far as they were given. */
import { completeHost, serviceOfHost } from '../../dialects/istio/hosts.js';
import { fieldsOf, listOf, type Fields, type SourceObject } from '../load.js';
import { exactMs } from '../../dialects/istio/duration.js';

export interface ServicePort {
  readonly port: number;
  readonly value: Fields;
}
export interface GivenService {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Fields;
  readonly selector: Readonly<Record<string, string>>;
  readonly ports: readonly ServicePort[];
}

function serviceOf({ namespace, name, value }: SourceObject): GivenService {
  const spec = fieldsOf(value['spec']);
  const ports = listOf(spec['ports']).flatMap((one): ServicePort[] => {
    const { port } = one;
    return typeof port === 'number' ? [{ port, value: one }] : [];
  });
  const selector = Object.fromEntries(
    Object.entries(fieldsOf(spec['selector'])).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
  return { namespace, name, labels: fieldsOf(fieldsOf(value['metadata'])['labels']), selector, ports };
}

export class Services {
  readonly #services = new Map<string, GivenService>();

  constructor(sources: readonly SourceObject[]) {
    for (const source of sources)
      if (source.kind === 'Service' && source.apiVersion === 'v1')
        this.#services.set(`${source.namespace}/${source.name}`, serviceOf(source));
  }
  get(namespace: string, name: string): GivenService | undefined {
    return this.#services.get(`${namespace}/${name}`);
  }
  in(namespace: string): readonly GivenService[] {
    return [...this.#services.values()].filter((one) => one.namespace === namespace);
  }
  /** The port of a destination that names none: that of a Service with one port. */
  onlyPort(namespace: string, name: string): number | undefined {
    const ports = this.get(namespace, name)?.ports ?? [];
    return ports.length === 1 ? ports[0]?.port : undefined;
  }
}

/** The Service of a host as Istio writes it; undefined: it is none of the cluster. */
export const serviceNamed = (
  host: string,
  namespace: string,
): { readonly namespace: string; readonly name: string } | undefined =>
  serviceOfHost(completeHost(host, namespace));

/** The Service that stands for a subset. */
export const subsetService = (service: string, subset: string): string => `${service}-${subset}`;

export const serviceTarget = (name: string, section?: string): Fields => ({
  group: '',
  kind: 'Service',
  name,
  ...(section === undefined ? {} : { sectionName: section }),
});

/** Milliseconds of a Go duration; undefined: it is none, or not a whole number of them. */
export function durationMs(text: string): number | undefined {
  const ms = exactMs(text);
  if (ms === undefined) return undefined;
  const rounded = Math.round(ms);
  return Math.abs(ms - rounded) < 1e-6 ? rounded : undefined;
}

/** A duration in the form of the Gateway API (GEP-2257); undefined: it has none. */
export function gatewayDuration(text: string): string | undefined {
  const ms = durationMs(text);
  if (ms === undefined) return undefined;
  if (ms % 1000 !== 0) return ms < 100_000 ? `${ms}ms` : `${Math.floor(ms / 1000)}s${ms % 1000}ms`;
  const seconds = ms / 1000;
  if (seconds % 3600 === 0 && seconds > 0) return `${seconds / 3600}h`;
  return seconds < 100_000 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
