/** What a Service port's settings say about one client's requests, compiled once per settings. Pure. */
import { errorText } from '../../base/errors.js';
import type { RetryPolicy, SettingOrigin, Timeouts } from '../../discovery/gen/weft.js';
import type { RouteFilter } from '../../model/route.js';
import {
  originOf,
  type ClientPolicy,
  type ServicePolicy,
  type SettingName,
} from '../../model/service-policy.js';
import { compileFilter, portChainOf, type PortChain } from '../filters/chain.js';
import type { StagedFilter } from '../filters/filter.js';
import { unprovenHeaders, type UnprovenHeaders } from '../filters/unproven-headers.js';
import { filterFailed } from '../http/local-reply.js';
import { isFrom, type Client } from '../listener/client.js';
import { rulesOfPolicy, type RetryRules } from '../upstream/retry-policy.js';

/** A filter, and the policy and its part that demand it. */
export interface Demanded {
  readonly name: string;
  readonly filter: StagedFilter;
  /** The filter only removes these headers: what passes no filters may go on without it. */
  readonly unproven?: UnprovenHeaders;
}

export interface RequestSettings {
  /** Unique: compiled routes are kept by it. */
  readonly serial: number;
  readonly chain: PortChain;
  /** Filters that hold on every way to the port's endpoints (authorization/demanded.ts). */
  readonly demanded: readonly Demanded[];
  /** The policy's retries; undefined: none. */
  readonly retry: RetryRules | undefined;
  /** Retries in dry run: they are counted and not done. */
  readonly retryDryRun: RetryRules | undefined;
  readonly timeouts: Timeouts | undefined;
  /** The object that set each field. */
  readonly origins: readonly SettingOrigin[];
}

const checksOfUsers: ReadonlySet<RouteFilter['$case']> = new Set(['jwt', 'externalAuthorization']);

/** Checks in dry run see the request as the client sent it: one that acts removes the client's token. */
const triedFirst = (a: RouteFilter, b: RouteFilter): number => Number(isTried(b)) - Number(isTried(a));
const isTried = ({ $case, value }: RouteFilter): boolean =>
  checksOfUsers.has($case) && 'dryRun' in value && value.dryRun;

let made = 0;

/** Settings of ports without a policy. @param filters those of every port */
export const settingsWithout = (filters: readonly StagedFilter[] = []): RequestSettings => ({
  serial: made++,
  chain: portChainOf(filters),
  demanded: [],
  retry: undefined,
  retryDryRun: undefined,
  timeouts: undefined,
  origins: [],
});

/** Compiles the settings of a port, and of its clients, when they are first needed. */
export class PortSettings {
  #own: RequestSettings | undefined;
  readonly #ofClients = new Map<ClientPolicy, RequestSettings>();

  constructor(
    private readonly policy: ServicePolicy,
    private readonly filters: readonly StagedFilter[],
  ) {}

  /** The settings for a client: those of the first ClientPolicy that names it, else the port's own. */
  of(client: Client): RequestSettings {
    const { clients } = this.policy;
    const policy = clients?.find((one) => isFrom(client, one.from));
    if (!policy) return (this.#own ??= this.#compile(this.policy.filters, this.policy, this.policy.origins));
    let settings = this.#ofClients.get(policy);
    if (!settings)
      this.#ofClients.set(
        policy,
        (settings = this.#compile(this.#filtersOf(policy), policy, policy.origins, policy.closed)),
      );
    return settings;
  }

  /** Whoever the client is, the port's own checks of its users apply. */
  #filtersOf({ filters }: ClientPolicy): readonly RouteFilter[] {
    const checks = this.policy.filters?.filter(
      ({ $case }) => checksOfUsers.has($case) && !filters.some((one) => one.$case === $case),
    );
    return [...(checks ?? []), ...filters];
  }

  #compile(
    filters: readonly RouteFilter[] = [],
    {
      retry,
      timeouts,
    }: { readonly retry?: RetryPolicy | undefined; readonly timeouts?: Timeouts | undefined },
    origins: readonly SettingOrigin[],
    closed = '',
  ): RequestSettings {
    const ordered = [...filters].sort(triedFirst);
    const compiled = ordered.map(compileOrRefuse);
    const issuers = new Set(
      filters.flatMap((one) => (one.$case === 'jwt' ? one.value.issuers.map(({ issuer }) => issuer) : [])),
    );
    const port = { service: this.policy.service, issuers };
    const demanded = ordered.flatMap((one, i): Demanded[] => {
      const filter = compiled[i];
      if (filter && isDemanded(one)) return [{ name: one.value.name, filter }];
      const removal = isTriedToken(one) && unprovenHeaders(one.value, port);
      return removal ? [{ name: one.value.name, filter: removal.filter, unproven: removal }] : [];
    });
    if (closed !== '') compiled.push(refusing(closed));
    // What closes a whole port is applied elsewhere to requests that dial the port.
    const closes = closed || (this.policy.closed ?? '');
    if (closes !== '') demanded.push({ name: closes, filter: refusing(closes) });
    const rules = retry && rulesOfPolicy(retry);
    return {
      serial: made++,
      chain: portChainOf([...this.filters, ...compiled]),
      demanded,
      retry: retry?.dryRun === true ? undefined : rules,
      retryDryRun: retry?.dryRun === true ? rules : undefined,
      timeouts,
      origins,
    };
  }
}

/** The object that set a setting, for logs and metrics. */
export const policyNameOf = (settings: Pick<RequestSettings, 'origins'>, setting: SettingName): string =>
  originOf(settings, setting) ?? 'TrafficPolicy';

type NamedFilter = Extract<RouteFilter, { readonly $case: 'externalAuthorization' }>;

/** Whether some client's settings have filters that hold on every way to the port's endpoints. */
export const hasDemands = ({ filters = [], clients = [], closed = '' }: ServicePolicy): boolean =>
  filters.some(holdsEverywhere) ||
  clients.some((one) => one.closed !== '' || one.filters.some(holdsEverywhere)) ||
  closed !== '';
const holdsEverywhere = (filter: RouteFilter): boolean => isDemanded(filter) || isTriedToken(filter);

/**
 * Whether a filter of a Service port holds on every way to the port's endpoints. A dry run demands nothing. Tokens need no such filter: the pods'
 * own policies refuse what no filter has validated (control/compile/token-guard.ts).
 */
const isDemanded = (filter: RouteFilter): filter is NamedFilter =>
  filter.$case === 'externalAuthorization' && !filter.value.dryRun;

/** Tokens in dry run: no pod refuses the headers that they set. */
const isTriedToken = (filter: RouteFilter): filter is Extract<RouteFilter, { readonly $case: 'jwt' }> =>
  filter.$case === 'jwt' && filter.value.dryRun;

/** A filter that cannot be applied may be a restriction, so all requests are refused in its place. */
function compileOrRefuse(filter: RouteFilter): StagedFilter {
  try {
    return compileFilter(filter);
  } catch (error) {
    return refusing(errorText(error));
  }
}

/** @param why for the access log */
function refusing(why: string): StagedFilter {
  const reply = filterFailed(why);
  return { stage: 'load-shedding', filter: { onRequest: () => ({ kind: 'reply', reply }) } };
}
