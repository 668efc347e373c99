/**
 * The settings of one Service port: merged by the control plane from the annotations of all objects that may set them, and applied by the
 * waypoint that serves the Service. Pure.
 */
import type * as pb from '../discovery/gen/weft.js';
import { durationMsOf, idleMsMax } from './duration.js';
import type { Annotations } from './labels.js';
import type { RouteFilter } from './route.js';
import type { ServiceKey } from './workload.js';

/** The balancers that an annotation can choose. A TrafficPolicy can choose any. */
const loadBalancingKinds = ['round-robin', 'least-request', 'random'] as const;
const annotated: Readonly<Record<(typeof loadBalancingKinds)[number], pb.LoadBalancing>> = {
  'round-robin': { kind: { $case: 'roundRobin', value: {} }, slowStart: undefined },
  'least-request': { kind: { $case: 'leastRequest', value: { choices: 2 } }, slowStart: undefined },
  random: { kind: { $case: 'random', value: {} }, slowStart: undefined },
};

/** The parts of a request that rate limits count by. */
export const rateLimitKeyKinds = [
  'client-identity',
  'client-namespace',
  'client-address',
  'header',
  'cookie',
  'query',
  'path',
  'method',
  'route',
] as const;
/** The parts of a request that a balancer hashes. */
export const hashKeyKinds = ['header', 'cookie', 'query', 'client-identity', 'client-address'] as const;
/** Conditions of Envoy's `retry_on` without a list of their own. */
export const retryConditionKinds = [
  '5xx',
  'gateway-error',
  'reset',
  'connect-failure',
  'refused-stream',
] as const;
/** Names of gRPC statuses in retry conditions, which a policy carries as numbers. */
export const retryGrpcCodes: Readonly<Record<string, number>> = {
  cancelled: 1,
  'deadline-exceeded': 4,
  'resource-exhausted': 8,
  internal: 13,
  unavailable: 14,
};

/** Settings of some clients, merged with the port's own. */
export interface ClientPolicy extends Omit<pb.ClientPolicy, 'filters'> {
  readonly filters: readonly RouteFilter[];
}

/** Each field is set by one object. An absent field leaves the value of a less specific object, at last the waypoint's own. */
export type ServiceSettings = Partial<
  Omit<pb.ServicePolicy, 'service' | 'port' | 'origins' | 'filters' | 'clients' | 'closed'>
> & {
  readonly filters?: readonly RouteFilter[];
  readonly clients?: readonly ClientPolicy[];
};
export type SettingName = keyof ServiceSettings;

export type ServicePolicy = ServiceSettings & {
  readonly service: ServiceKey;
  readonly port: number;
  /** The object that set each field, as `<Kind> <namespace>/<name>`. */
  readonly origins: readonly pb.SettingOrigin[];
  /** Why requests to the port are refused: the policy has a part that the control plane or this version cannot read. */
  readonly closed?: string;
};

/** The object that set a field; undefined: none has set it. */
export const originOf = (
  { origins }: { readonly origins?: readonly pb.SettingOrigin[] },
  name: SettingName,
): string | undefined => origins?.find(({ setting }) => setting === name)?.object;

export const servicePolicyName = ({ service, port }: Pick<ServicePolicy, 'service' | 'port'>): string =>
  `${service}:${port}`;

/** The Service and port of a resource name: `servicePolicyName` made it. */
export function parseServicePolicyName(name: string): Pick<ServicePolicy, 'service' | 'port'> {
  const colon = name.lastIndexOf(':');
  return { service: name.slice(0, colon) as ServiceKey, port: Number(name.slice(colon + 1)) };
}

interface Reader {
  readonly expects: string;
  readonly read: (text: string) => Partial<ServiceSettings> | undefined;
}

type NumberName = {
  [Name in SettingName]: ServiceSettings[Name] extends number | undefined ? Name : never;
}[SettingName];
const whole = (name: NumberName, min: number, max: number): Reader => ({
  expects: `expected a whole number from ${min} to ${max}`,
  read: (text) => {
    const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : -1;
    return value < min || value > max ? undefined : { [name]: value };
  },
});
const duration = (name: NumberName): Reader => ({
  expects: 'expected for example 90s or 1h30m, at most 576h; 0s disables the timeout',
  read: (text) => {
    const ms = durationMsOf(text);
    return ms === undefined || ms > idleMsMax ? undefined : { [name]: ms };
  },
});
const readers: Readonly<Record<string, Reader>> = {
  'weft.dev/load-balancing': {
    expects: `expected ${loadBalancingKinds.join(', ')}`,
    read: (text) => {
      const kind = loadBalancingKinds.find((one) => one === text);
      return kind && { loadBalancing: annotated[kind] };
    },
  },
  'weft.dev/stream-idle-timeout': duration('streamIdleMs'),
  'weft.dev/request-body-idle-timeout': duration('bodyIdleMs'),
  'weft.dev/requests-max': whole('requestsMax', 1, 1_000_000),
  'weft.dev/pending-requests-max': whole('pendingRequestsMax', 0, 1_000_000),
  'weft.dev/retry-budget-percent': whole('retryBudgetPercent', 0, 100),
  'weft.dev/retry-budget-min': whole('retryBudgetMin', 0, 1_000_000),
};

/** The annotations that set a Service's policy, on MeshSettings, Gateways, Namespaces and Services. */
export const servicePolicyKeys: readonly string[] = Object.keys(readers);

/** The annotation without the port that it is for: on a Service, `<key>.<port name or number>` is for one port. */
export function portOfKey(key: string): { readonly key: string; readonly port: string | undefined } {
  const dot = key.indexOf('.', 'weft.dev/'.length);
  return dot < 0 ? { key, port: undefined } : { key: key.slice(0, dot), port: key.slice(dot + 1) };
}

interface Problem {
  readonly key: string;
  readonly value: string;
  readonly message: string;
}
export interface ReadSettings {
  readonly settings: ServiceSettings;
  /** Settings of single ports, by name or number of the port. */
  readonly ports: ReadonlyMap<string, ServiceSettings>;
  readonly problems: readonly Problem[];
}

/** Annotations are replaced with their object and never changed, so one object is read once. */
const known = new WeakMap<Annotations, ReadSettings>();
const none: ReadSettings = { settings: {}, ports: new Map(), problems: [] };

/** The settings in an object's annotations. Invalid values are reported, and those of a less specific object apply in their place. */
export function serviceSettingsOf(annotations: Annotations | undefined): ReadSettings {
  if (annotations === undefined) return none;
  let read = known.get(annotations);
  if (!read) known.set(annotations, (read = readSettings(annotations)));
  return read;
}

/** Problems of annotations for one port. @param ports the ports of the Service; undefined: the object is none */
export function portKeyProblems(
  annotations: Annotations,
  ports: readonly { readonly name?: string; readonly port: number }[] | undefined,
): Problem[] {
  return Object.entries(annotations).flatMap(([full, value]) => {
    const { key, port } = portOfKey(full);
    if (port === undefined || !Object.hasOwn(readers, key)) return [];
    if (ports?.some((one) => one.name === port || String(one.port) === port)) return [];
    const why = ports ? `the Service has no port ${port}` : 'only a Service has settings of single ports';
    return [{ key: full, value, message: `annotation ${full} has no effect: ${why}` }];
  });
}

function readSettings(annotations: Annotations): ReadSettings {
  let settings: ServiceSettings = {};
  const ports = new Map<string, ServiceSettings>();
  const problems: Problem[] = [];
  for (const [full, value] of Object.entries(annotations)) {
    const { key, port } = portOfKey(full);
    const reader = Object.hasOwn(readers, key) ? readers[key] : undefined;
    if (!reader) continue;
    const found = reader.read(value);
    if (!found) {
      const shown = JSON.stringify(value.slice(0, 64));
      const message = `annotation ${full}: ${shown} is unknown: ${reader.expects}; the value of the next less specific object applies, at last the waypoint's own`;
      problems.push({ key: full, value, message });
    } else if (port === undefined) settings = { ...settings, ...found };
    else ports.set(port, { ...ports.get(port), ...found });
  }
  return { settings, ports, problems };
}
