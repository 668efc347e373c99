/** Merges the settings of a Service's ports from the objects that may set them. Pure. */
import type { ClientMatch, SettingOrigin } from '../../src/discovery/gen/weft.js';
import { foreignCertificate } from '../../src/model/client-certificate.js';
import { namespaceOf } from '../../src/model/labels.js';
import {
  serviceSettingsOf,
  type ClientPolicy,
  type ReadSettings,
  type ServicePolicy,
} from '../../src/model/service-policy.js';
import type { MeshObject, ServedObject, ServiceObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';
import type { PolicyTarget } from '../dialects/istio/destination-rule/port-settings.js';
import { subsetKeys, type RulesInForce } from '../dialects/istio/destination-rule/in-force.js';
import { ruleLayer, type RuleLayer } from '../dialects/istio/destination-rule/layers.js';
import { compileBackendTls } from '../dialects/gateway/backend-tls-policy.js';
import type { ServiceKey } from '../../src/model/workload.js';
import { portsOf } from './served-object.js';
import { requestTokens } from '../dialects/istio/request-tokens.js';
import { crowdedBecause, jwtFilter, type JwtTemplate, type KeyLookup } from './jwt-filter.js';
import { policiesOfGateway, policiesOfService } from './traffic-policy-targets.js';
import { clientKey } from './traffic-policy-requests.js';
import { inModeOf, type AuditLookup } from './audit.js';
import {
  additiveSections,
  breakerSettings,
  demandsDecisions,
  type CompiledTrafficPolicy,
  type TrafficSettings,
} from './traffic-policy.js';
import type { WaypointName } from './waypoints.js';
import { neededWaypoint } from '../../src/model/refused-waypoint.js';

/** Settings with their object, as `<Kind> <namespace>/<name>`. */
export interface Layer {
  readonly origin: string;
  readonly settings: TrafficSettings;
  /** The settings only count. */
  readonly isDryRun?: boolean;
  /** Absent: all clients. */
  readonly client?: ClientMatch;
}

type Name = keyof TrafficSettings;
interface Merged {
  readonly settings: TrafficSettings;
  /** The origin of each field that is set. */
  readonly origins: readonly SettingOrigin[];
}

/** Sections that may be in force and in dry run at the same time: both are filters of the chain. */
const filterSections = [
  'loadShedding',
  'authentication',
  'externalAuthorization',
  'rateLimits',
  'faults',
] as const satisfies readonly Name[];

/**
 * Merges settings field by field. A dry run never takes away what acts: its filters are added to those of less specific layers, and its
 * other settings count only where no layer sets the same.
 * @param layers the least specific first; the last that sets a field wins
 */
export function mergeSettings(layers: readonly Layer[]): Merged {
  const acting = layers.filter(({ isDryRun }) => !isDryRun);
  const dry = layers.filter(({ isDryRun }) => isDryRun);
  const settings: Record<string, unknown> = Object.assign({}, ...acting.map((layer) => layer.settings));
  const setBy = (list: readonly Layer[], name: Name): Layer | undefined =>
    list.findLast((layer) => layer.settings[name] !== undefined);
  const origins = new Map(
    Object.keys(settings).map((name) => [name, setBy(acting, name as Name)?.origin ?? '']),
  );
  const hasBreaker = breakerSettings.some((name) => settings[name] !== undefined);
  for (const name of new Set(dry.flatMap((layer) => Object.keys(layer.settings) as Name[]))) {
    if (additiveSections.has(name)) continue;
    const layer = setBy(dry, name);
    const present = setBy(acting, name);
    if (!layer || (hasBreaker && (breakerSettings as readonly string[]).includes(name))) continue;
    const isFilter = (filterSections as readonly string[]).includes(name);
    const isAdded = present && isFilter && layers.indexOf(layer) > layers.indexOf(present);
    if (present && !isAdded) continue;
    const value = layer.settings[name];
    settings[name] = isAdded ? [...(settings[name] as unknown[]), ...(value as unknown[])] : value;
    if (!present) origins.set(name, layer.origin);
  }
  for (const name of additiveSections as ReadonlySet<Name>) {
    // A dry run comes last, so that it sees what was changed.
    const all = [...acting, ...dry].filter((layer) => layer.settings[name] !== undefined);
    const [first] = all;
    if (!first) continue;
    settings[name] = all.flatMap((layer) => layer.settings[name] as unknown[]);
    origins.set(name, (setBy(acting, name) ?? first).origin);
  }
  if (!hasBreaker && breakerSettings.some((name) => settings[name] !== undefined))
    settings['circuitBreakerDryRun'] = true;
  return {
    settings,
    origins: [...origins]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([setting, object]) => ({ setting, object })),
  };
}

/**
 * The policies of a Service's TCP ports, and of its subsets' ports. A port without settings has none. The layers, the least specific first:
 * MeshSettings, the waypoint's Gateway, the policies of the Gateway, the Service's Namespace, RequestAuthentications, its DestinationRules,
 * the Service, its policies, its port, and the policies of the port. No other object changes the policy.
 * The same holds for names outside of the cluster.
 * @param served.key of the object's Service
 * @param served.target what DestinationRules need to know
 * @param waypoint the waypoint, whose Gateway admits the Service
 * @param rules the DestinationRules in force
 */
export function servicePolicies(
  {
    object,
    key,
    target,
  }: { readonly object: ServedObject; readonly key: ServiceKey; readonly target: PolicyTarget },
  waypoint: WaypointName,
  registry: Pick<
    Registry,
    | 'meshSettings'
    | 'gateway'
    | 'namespace'
    | 'policiesTargeting'
    | 'configMap'
    | 'keySets'
    | 'indexes'
    | 'rootNamespace'
  >,
  rules?: RulesInForce,
): ServicePolicy[] {
  const own = readOf(object);
  const namespace = namespaceOf(object);
  const annotated = (one: MeshObject | undefined): Layer[] =>
    one ? [layerOf(one, readOf(one).settings)] : [];
  const gateway = registry.gateway(waypoint);
  const ofGateway = gateway ? registry.policiesTargeting('Gateway', waypoint.namespace, waypoint.name) : [];
  const targeting = registry.policiesTargeting(object.kind, namespace, object.metadata.name);
  const inForceAt = (port: number | undefined): readonly CompiledTrafficPolicy[] =>
    inModeOf(namespace, policiesOfService(targeting, object, port).inForce, registry);
  const ofService = inForceAt(undefined);
  const general = [
    ...annotated(registry.meshSettings),
    ...annotated(gateway),
    ...layersOf(inModeOf(waypoint.namespace, policiesOfGateway(ofGateway).inForce, registry)),
    ...annotated(registry.namespace(namespace)),
    ...requestTokens(object, waypoint, registry).map(tokenLayer),
  ];
  const layers = [layerOf(object, own.settings), ...layersOf(ofService)];
  const keys = registry.keySets;
  return portsOf(object).flatMap(({ name, port }): ServicePolicy[] => {
    const ofPort = { ...own.ports.get(String(port)), ...(name === undefined ? {} : own.ports.get(name)) };
    const ofThisPort = inForceAt(port);
    const specific: Layer[] = [
      ...layers,
      ...tlsLayer([...ofThisPort, ...ofService], registry, waypoint),
      { origin: `${nameOf(object)} port ${port}`, settings: ofPort },
      ...layersOf(ofThisPort),
    ];
    const withRule = (layer: RuleLayer | undefined): Layer[] => [
      ...general,
      ...ruleLayers(layer && withOwnCertificate(layer, waypoint, namespace), general),
      ...specific,
    ];
    const ofRule = rules && ruleLayer(target, rules, port);
    const all = withRule(ofRule);
    const { filters, origins, ...settings } = portSettings(
      all.filter(({ client }) => !client),
      keys,
    );
    const clients = clientPolicies(all, keys);
    const ofItself =
      origins.length === 0 && clients.length === 0
        ? []
        : [
            {
              service: key,
              port,
              origins,
              ...settings,
              ...(filters.length > 0 ? { filters } : {}),
              ...(clients.length > 0 ? { clients } : {}),
            },
          ];
    const ofSubsets = (rules ? subsetKeys(key, rules) : []).flatMap(({ key: subset, subset: named }) =>
      subsetPolicy({ service: subset, port }, withRule(rules && ruleLayer(target, rules, port, named))),
    );
    return [...ofItself, ...ofSubsets];
  });
}

/** The policy of a subset: what is about endpoints. Requests pass the filters of the Service that the client dialed. */
function subsetPolicy(
  at: Pick<ServicePolicy, 'service' | 'port'>,
  layers: readonly Layer[],
): ServicePolicy[] {
  const {
    filters: _,
    origins,
    ...settings
  } = portSettings(
    layers.filter(({ client }) => !client),
    noKeys,
  );
  const kept = origins.filter(({ setting }) => setting in settings);
  return kept.length === 0 ? [] : [{ ...at, origins: kept, ...settings }];
}

/** The layer of a DestinationRule. It sets some of the timeouts, which are one setting: the others stay as less specific objects have them. */
function ruleLayers(layer: RuleLayer | undefined, below: readonly Layer[]): Layer[] {
  if (!layer) return [];
  const { timeouts } = layer.settings;
  if (!timeouts) return [layer];
  const lower = below.findLast(({ settings, isDryRun, client }) => settings.timeouts && !isDryRun && !client)
    ?.settings.timeouts;
  const given = Object.fromEntries(Object.entries(timeouts).filter(([, value]) => value !== undefined));
  const merged = { ...lower, ...given, dryRun: false } as NonNullable<TrafficSettings['timeouts']>;
  return [{ ...layer, settings: { ...layer.settings, timeouts: merged } }];
}

/**
 * The layer, closed if it names a client certificate of another namespace: a rule of the root namespace is for Services of many.
 * @param namespace of the Service
 */
function withOwnCertificate(layer: RuleLayer, waypoint: WaypointName, namespace: string): RuleLayer {
  const { endpointTls, ...others } = layer.settings;
  const name = endpointTls?.clientCertificate;
  const problem =
    name === undefined ? undefined : foreignCertificate(name, waypoint.namespace, layer.namespace, namespace);
  return problem === undefined
    ? layer
    : { ...layer, settings: { ...others, closed: `${layer.origin}: ${problem}` } };
}

/** The layer of RequestAuthentications: an AuthenticationPolicy of the Service is more specific. */
const tokenLayer = (tokens: JwtTemplate): Layer => ({
  origin: tokens.name,
  settings: { authentication: [tokens] },
  ...(tokens.dryRun ? { isDryRun: true } : {}),
});

/** The layer of the first policy about TLS. If it cannot be applied, the port is closed: it must not be plain. */
function tlsLayer(
  policies: readonly CompiledTrafficPolicy[],
  registry: Pick<Registry, 'configMap'>,
  waypoint: WaypointName,
): readonly Layer[] {
  const found = policies.find(({ tls }) => tls !== undefined);
  if (!found?.tls) return [];
  const compiled = compileBackendTls(
    found.tls,
    (namespace, name) => registry.configMap(namespace, name),
    waypoint.namespace,
  );
  const settings =
    'tls' in compiled
      ? { endpointTls: compiled.tls }
      : { closed: `${found.origin}: ${compiled.problem.message}` };
  return [{ origin: found.origin, settings }];
}

/** The filters of a subset are not used. */
const noKeys: KeyLookup = { of: () => ({ jwks: '', problem: '' }) };

function portSettings(layers: readonly Layer[], keys: KeyLookup) {
  const { settings, origins } = mergeSettings(layers);
  const {
    loadShedding = [],
    authentication = [],
    externalAuthorization = [],
    rateLimits = [],
    faults = [],
    ...others
  } = settings;
  const tokens = authentication.map((one) => jwtFilter(one, keys));
  const filters = [...loadShedding, ...tokens, ...externalAuthorization, ...rateLimits, ...faults];
  const crowded = authentication.map(crowdedBecause).find((one) => one !== undefined);
  const closed = others.closed ?? crowded;
  return { ...others, ...(closed === undefined ? {} : { closed }), origins, filters };
}

const isFor = (layer: Layer, { namespace, serviceAccount }: ClientMatch): boolean =>
  !layer.client ||
  (layer.client.namespace === namespace && ['', serviceAccount].includes(layer.client.serviceAccount));

/** The names of what is in a ClientPolicy: what is not there is the same for all clients. */
const ofClients: ReadonlySet<string> = new Set(['retry', 'timeouts', ...filterSections]);

/**
 * The settings of each client that a policy names: service accounts first, since the first entry that matches a client applies. Those of a
 * service account contain what is said about its whole namespace.
 */
function clientPolicies(layers: readonly Layer[], keys: KeyLookup): ClientPolicy[] {
  const named = new Map(layers.flatMap(({ client }) => (client ? [[clientKey(client), client]] : [])));
  return [...named.values()]
    .sort((a, b) =>
      (a.serviceAccount === '') === (b.serviceAccount === '')
        ? clientKey(a) < clientKey(b)
          ? -1
          : 1
        : a.serviceAccount === ''
          ? 1
          : -1,
    )
    .map((client) => {
      const { filters, retry, timeouts, closed, origins } = portSettings(
        layers.filter((layer) => isFor(layer, client)),
        keys,
      );
      return {
        from: [client],
        filters,
        retry,
        timeouts,
        closed: closed ?? '',
        origins: origins.filter(({ setting }) => ofClients.has(setting)),
      };
    });
}

/**
 * The layers of the policies of one target. What is for some clients is more specific than what is for all, and a service account more than
 * its namespace; a dry run comes last.
 */
function layersOf(policies: readonly CompiledTrafficPolicy[]): Layer[] {
  const layers = policies.flatMap(({ origin, sections, from, closed }): Layer[] => {
    const [acting, dry] = [false, true].map(
      (isDryRun) =>
        Object.assign(
          {},
          ...sections.flatMap((one) => (one.isDryRun === isDryRun ? [one.settings] : [])),
        ) as TrafficSettings,
    );
    const made: Layer[] = [
      { origin, settings: { ...acting, ...(closed === undefined ? {} : { closed }) } },
      { origin, settings: dry ?? {}, isDryRun: true },
    ].filter(({ settings }) => Object.keys(settings).length > 0);
    return from.length === 0 ? made : made.flatMap((layer) => from.map((client) => ({ ...layer, client })));
  });
  const rank = ({ client, isDryRun }: Layer): number =>
    (client ? (client.serviceAccount === '' ? 2 : 4) : 0) + (isDryRun ? 1 : 0);
  return layers.sort((a, b) => rank(a) - rank(b));
}

const readOf = (object: MeshObject): ReadSettings => serviceSettingsOf(object.metadata.annotations);
const layerOf = (object: MeshObject, settings: TrafficSettings): Layer => ({
  origin: nameOf(object),
  settings,
});
const nameOf = ({ kind, metadata: { namespace, name } }: MeshObject): string =>
  `${kind} ${namespace === undefined ? name : `${namespace}/${name}`}`;

/**
 * The name of a waypoint that does not exist, for a Service without a waypoint whose policies demand decisions about requests: nobody could
 * ask for them. Undefined: the Service needs none.
 */
export function waypointNeededBy(
  service: ServiceObject,
  registry: Pick<Registry, 'policiesTargeting' | keyof AuditLookup>,
): WaypointName | undefined {
  const namespace = namespaceOf(service);
  const targeting = registry.policiesTargeting('Service', namespace, service.metadata.name);
  if (targeting.length === 0) return undefined;
  const demands = [undefined, ...portsOf(service).map(({ port }) => port)].some((port) =>
    inModeOf(namespace, policiesOfService(targeting, service, port).inForce, registry).some(demandsDecisions),
  );
  return demands ? { namespace, name: neededWaypoint } : undefined;
}
