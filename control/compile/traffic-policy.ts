/**
 * Compiles a TrafficPolicy to settings of the ports that it targets, section by section. Pure. What the validation rules (CEL) of the CRD
 * refuse is refused here as well, because files pass no API server.
 */
import { namespaceOf } from '../../src/model/labels.js';
import type { ClientMatch } from '../../src/discovery/gen/weft.js';
import type { RouteFilter } from '../../src/model/route.js';
import type { ServiceSettings } from '../../src/model/service-policy.js';
import type {
  BackendTlsPolicyObject,
  ClientRef,
  TargetRef,
  TrafficPolicyObject,
  TrafficSections,
} from '../objects/objects.js';
import {
  circuitBreaker,
  healthCheck,
  loadBalancing,
  locality,
  outlierDetection,
} from './traffic-policy-cluster.js';
import { externalAuthorization } from './external-authorization.js';
import {
  clientMatch,
  fault,
  loadShedding,
  rateLimit,
  retry,
  timeouts,
  type PolicyContext,
} from './traffic-policy-requests.js';
import type { JwtTemplate } from './jwt-filter.js';
import { durationMs } from './traffic-policy-values.js';

/** Settings by section: filters of different sections are merged apart from each other. */
export type TrafficSettings = Omit<ServiceSettings, 'filters' | 'clients'> & {
  readonly rateLimits?: readonly RouteFilter[];
  readonly externalAuthorization?: readonly RouteFilter[];
  readonly faults?: readonly RouteFilter[];
  readonly loadShedding?: readonly RouteFilter[];
  /** Validation of tokens, without the keys: these are looked up when the settings are merged. */
  readonly authentication?: readonly JwtTemplate[];
  /** Why requests are refused: a policy that restricts them cannot be read. */
  readonly closed?: string;
};

export type SectionName = keyof TrafficSections;

export interface CompiledSection {
  readonly name: SectionName | 'authentication';
  /** Nothing of the section acts: it only counts. */
  readonly isDryRun: boolean;
  readonly settings: TrafficSettings;
}
export interface CompiledTrafficPolicy {
  readonly origin: string;
  readonly sections: readonly CompiledSection[];
  /** Empty: all clients. */
  readonly from: readonly ClientMatch[];
  /** Settings of sections that cannot be read. */
  readonly unread: readonly string[];
  /** The policy itself, if it is about TLS (dialects/gateway/backend-tls-policy.ts). */
  readonly tls?: BackendTlsPolicyObject;
  /** Set for an AuthenticationPolicy, unless it is a dry run. `closed`: it cannot be read. */
  readonly authentication?: JwtTemplate | 'closed';
  readonly closed?: string;
}

type Section<K extends SectionName> = (
  spec: NonNullable<TrafficSections[K]>,
  at: string,
  context: PolicyContext,
) => Omit<CompiledSection, 'name'> | undefined;

const each = <T, U>(list: readonly T[], at: string, compile: (one: T, at: string) => U): U[] =>
  list.map((one, index) => compile(one, `${at}[${index}]`));

/** Names are part of metrics, and buckets belong to them. */
function unique(list: readonly { readonly name: string }[], at: string): void {
  const names = new Set<string>();
  for (const { name } of list) {
    if (names.has(name)) throw new Error(`${at}: the name ${name} occurs twice`);
    names.add(name);
  }
}

/** A list is a dry run if each of its entries is: one that acts takes the place of a less specific list. */
const allDry = (list: readonly { readonly dryRun?: boolean }[], { dryRun }: PolicyContext): boolean =>
  dryRun || list.every((one) => one.dryRun === true);

/** A section that can only act: with `dryRun` of the whole policy it has no effect. */
const acting = (settings: TrafficSettings, { dryRun }: PolicyContext) =>
  dryRun ? undefined : { isDryRun: false, settings };

const compilers: { readonly [K in SectionName]-?: Section<K> } = {
  loadBalancing: (spec, at, context) => acting({ loadBalancing: loadBalancing(spec, at) }, context),
  locality: (spec, at, context) => acting({ locality: locality(spec, at) }, context),
  circuitBreaker: (spec, at, context) => ({
    isDryRun: context.dryRun || spec.dryRun === true,
    settings: circuitBreaker(spec, at),
  }),
  outlierDetection: (spec, at, context) => {
    const isDryRun = context.dryRun || spec.dryRun === true;
    return { isDryRun, settings: { outlierDetection: outlierDetection(spec, at, isDryRun) } };
  },
  healthChecks: (list, at, context) => ({
    isDryRun: allDry(list, context),
    settings: {
      healthChecks: each(list, at, (one, where) =>
        healthCheck(one, where, context.dryRun || one.dryRun === true),
      ),
    },
  }),
  retry: (spec, at, context) => {
    const isDryRun = context.dryRun || spec.dryRun === true;
    const policy = retry(spec, at, isDryRun);
    const { percent, minRetries } = spec.budget ?? {};
    return {
      isDryRun,
      settings: {
        ...(policy ? { retry: policy } : {}),
        // A budget acts on retries of routes as well, so a dry run has none.
        ...(percent === undefined || isDryRun ? {} : { retryBudgetPercent: percent }),
        ...(minRetries === undefined || isDryRun ? {} : { retryBudgetMin: minRetries }),
      },
    };
  },
  timeouts: (spec, at, context) => {
    const { streamIdle, dryRun, request, maxDuration } = spec;
    const isDryRun = context.dryRun || dryRun === true;
    const idle = streamIdle === undefined ? {} : { streamIdleMs: durationMs(`${at}.streamIdle`, streamIdle) };
    const all = timeouts(spec, at, isDryRun);
    if (!isDryRun) {
      const hasOthers = Object.keys(spec).some((name) => name !== 'streamIdle' && name !== 'dryRun');
      return { isDryRun, settings: { ...(hasOthers ? { timeouts: all } : {}), ...idle } };
    }
    // Timeouts of connections cannot be counted without being enforced.
    if (request === undefined && maxDuration === undefined) return undefined;
    const { requestMs, streamMsMax } = all;
    return {
      isDryRun,
      settings: {
        timeouts: {
          ...(requestMs === undefined ? {} : { requestMs }),
          ...(streamMsMax === undefined ? {} : { streamMsMax }),
          dryRun: true,
        },
      },
    };
  },
  rateLimits: (list, at, context) => {
    unique(list, at);
    return {
      isDryRun: allDry(list, context),
      settings: { rateLimits: each(list, at, (one, where) => rateLimit(one, where, context)) },
    };
  },
  externalAuthorization: (list, at, context) => {
    unique(list, at);
    return {
      isDryRun: allDry(list, context),
      settings: {
        externalAuthorization: each(list, at, (one, where) => externalAuthorization(one, where, context)),
      },
    };
  },
  faults: (list, at, context) => {
    unique(list, at);
    return {
      isDryRun: allDry(list, context),
      settings: { faults: each(list, at, (one, where) => fault(one, where, context)) },
    };
  },
  loadShedding: (spec, at, context) => ({
    isDryRun: context.dryRun || spec.dryRun === true,
    settings: { loadShedding: [loadShedding(spec, at, context)] },
  }),
};

/** The settings of a circuit breaker, which are merged one by one. */
export const breakerSettings = [
  'connectionsMax',
  'pendingRequestsMax',
  'pendingTimeoutMs',
  'requestsMax',
  'requestsPerConnectionMax',
  'clientConnectionsMax',
  'clientPendingRequestsMax',
  'clientRequestsMax',
] as const satisfies readonly (keyof TrafficSettings)[];

export const sectionNames = Object.keys(compilers) as readonly SectionName[];
/** Sections that can be for some clients. */
const clientSections: ReadonlySet<SectionName> = new Set([
  'rateLimits',
  'externalAuthorization',
  'faults',
  'retry',
  'timeouts',
]);
/** Sections of all objects that apply to a port hold together: a more specific object lifts nothing that another one demands. */
export const additiveSections: ReadonlySet<string> = new Set<SectionName>(['externalAuthorization']);

/** Whether requests must not pass where no waypoint can ask for decisions. */
export const demandsDecisions = ({ sections, unread, closed }: CompiledTrafficPolicy): boolean =>
  sections.some(({ name, isDryRun }) => additiveSections.has(name) && !isDryRun) ||
  (closed !== undefined && unread.some((name) => additiveSections.has(name)));

const contextOf = ({ metadata, spec }: TrafficPolicyObject): PolicyContext => {
  const namespace = namespaceOf({ metadata });
  return {
    namespace,
    origin: `TrafficPolicy ${namespace}/${metadata.name}`,
    dryRun: spec.dryRun === true,
    regexBudget: { weight: 0 },
  };
};

/** Compiles one section, independently of the others. Undefined if it has no effect. Error: the field that cannot be read. */
export function compileSection<K extends SectionName>(
  policy: TrafficPolicyObject,
  name: K,
): CompiledSection | undefined {
  const spec = policy.spec[name] as NonNullable<TrafficSections[K]> | undefined;
  if (spec === undefined) return undefined;
  const made = (compilers[name] as unknown as Section<K>)(spec, name, contextOf(policy));
  return made && { name, ...made };
}

/** What the rules (CEL) of the CRDs refuse about targets: files pass no API server. Throws an Error that names the target. */
export function checkTargetRefs(targetRefs: readonly TargetRef[]): void {
  for (const { group, kind, name, sectionName } of targetRefs) {
    if ((group === '') !== (kind === 'Service'))
      throw new Error(
        `targetRefs: ${name}: a Service has the group '', a Gateway the group gateway.networking.k8s.io`,
      );
    if (kind === 'Gateway' && sectionName !== undefined)
      throw new Error(`targetRefs: ${name}: only a Service has sections: its ports`);
  }
}

/** What the CRD's rules refuse about the whole spec. */
function checkWhole({ spec }: TrafficPolicyObject): void {
  const given = sectionNames.filter((name) => spec[name] !== undefined);
  if (given.length === 0) throw new Error('spec: a policy needs at least one section, for example retry');
  checkTargetRefs(spec.targetRefs);
  const problem =
    spec.from && given.map((name) => clientProblem(spec, name)).find((one) => one !== undefined);
  if (problem !== undefined) throw new Error(`from: ${problem}`);
}

/** Why a section of a policy cannot be for some clients; undefined if it can. */
export function clientProblem(
  { retry, timeouts }: Pick<TrafficSections, 'retry' | 'timeouts'>,
  name: SectionName,
): string | undefined {
  if (!clientSections.has(name))
    return 'only rateLimits, externalAuthorization, faults, retry and timeouts can be for some clients';
  if (name === 'retry' && retry?.budget) return 'a retry budget is for all clients of a port';
  if (name === 'timeouts' && timeouts?.streamIdle !== undefined)
    return 'timeouts.streamIdle is for all clients of a port';
  return undefined;
}

const clientsOf = (from: readonly ClientRef[] | undefined, own: string): ClientMatch[] =>
  (from ?? []).map((client) => clientMatch(client, own));

/** Objects are replaced and never changed, so one object is compiled once. */
const known = new WeakMap<TrafficPolicyObject, CompiledTrafficPolicy>();

/** Compiles a policy. Error: the field that cannot be read. The closed form of a policy (compile/closed-traffic-policy.ts) has no error. */
export function compileTrafficPolicy(policy: TrafficPolicyObject): CompiledTrafficPolicy {
  let compiled = known.get(policy);
  if (!compiled) known.set(policy, (compiled = compileAll(policy)));
  return compiled;
}

function compileAll(policy: TrafficPolicyObject): CompiledTrafficPolicy {
  if (policy.invalid === undefined) checkWhole(policy);
  const context = contextOf(policy);
  return {
    origin: context.origin,
    sections: sectionNames.flatMap((name) => compileSection(policy, name) ?? []),
    from: clientsOf(policy.spec.from, context.namespace),
    unread: (policy.unread ?? []).flatMap((name) => (name === 'circuitBreaker' ? breakerSettings : [name])),
    ...(policy.closes ? { closed: `${context.origin} cannot be read: ${policy.invalid ?? ''}` } : {}),
  };
}
