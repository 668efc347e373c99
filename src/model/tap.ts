/**
 * Taps: what a reader wants to see of requests and connections as they happen. Programs evaluate the filter of each tap before they allocate
 * anything for it. Pure.
 */
import { edgePaths } from './edge.js';
import type { TapEvent } from './mesh-snapshot.js';

/** What an event must be. A field without values allows all; one with several values allows each of them. */
export interface TapFilter {
  /** Namespace of one of the ends. */
  readonly namespace?: string;
  /** `NAMESPACE/NAME` of one of the ends. */
  readonly workloads?: readonly string[];
  /** Identities of one of the ends. A `*` at the end stands for any rest. */
  readonly identities?: readonly string[];
  /** Paths of requests, without the query. A `*` at the end stands for any rest. */
  readonly requestPaths?: readonly string[];
  /** Ways of connections: `kernel`, `hbone`, `waypoint`, … */
  readonly ways?: readonly string[];
  /** `404`, or `5xx`. */
  readonly statuses?: readonly string[];
  /** `NAMESPACE/NAME` of a policy that decided, or would have refused in audit mode. */
  readonly policies?: readonly string[];
  readonly outcomes?: readonly TapEvent['outcome'][];
  readonly methods?: readonly string[];
  readonly kinds?: readonly TapEvent['kind'][];
}

export interface TapQuery {
  readonly filter: TapFilter;
  /** One of so many events is shown; 1: all. */
  readonly sampleOf: number;
}

export const tapOutcomes = ['allowed', 'refused', 'failed'] as const;
export const tapKinds = ['request', 'connection'] as const;
export const tapLimits = {
  /** Values of one field of a filter. */
  valuesMax: 16,
  valueCharsMax: 512,
  sampleOfMax: 1_000_000,
} as const;

/** What filters read of an event. Programs evaluate it on their own records, without making an event. */
export interface TapSubject {
  readonly kind: TapEvent['kind'];
  readonly outcome: TapEvent['outcome'];
  readonly way: string;
  readonly sourceNamespace: string;
  readonly sourceWorkload: string;
  readonly sourceIdentity: string | undefined;
  readonly destinationNamespace: string;
  readonly destinationWorkload: string;
  readonly destinationIdentity: string | undefined;
  /** Names of policies, as in logs: several have commas between them. */
  readonly policy: string;
  readonly audited: readonly string[];
  /** Empty, and 0, of connections. */
  readonly method: string;
  /** May have a query, which no filter sees. */
  readonly requestPath: string;
  readonly status: number;
}

/** Why a filter or a sample cannot be used; undefined: it can. Pure. */
export function tapProblem({ filter, sampleOf }: TapQuery): string | undefined {
  if (!Number.isInteger(sampleOf) || sampleOf < 1 || sampleOf > tapLimits.sampleOfMax)
    return `the sample is not one of 1 to ${tapLimits.sampleOfMax}`;
  for (const [field, value] of Object.entries(filter)) {
    const values: readonly string[] = typeof value === 'string' ? [value] : value;
    if (values.length > tapLimits.valuesMax) return `${field}: more than ${tapLimits.valuesMax} values`;
    for (const one of values) {
      if (one === '' || one.length > tapLimits.valueCharsMax)
        return `${field}: a value has not 1 to ${tapLimits.valueCharsMax} characters`;
      const why = valueProblem(field as keyof TapFilter, one);
      if (why !== undefined) return `${field}: ${JSON.stringify(one)} ${why}`;
    }
  }
  return undefined;
}

const isOneOf = (known: readonly string[], value: string): string | undefined =>
  known.includes(value) ? undefined : `is not one of ${known.join(', ')}`;

function valueProblem(field: keyof TapFilter, value: string): string | undefined {
  switch (field) {
    case 'workloads':
    case 'policies':
      return /^[^/\s,]+\/[^/\s,]+$/.test(value) ? undefined : 'is not NAMESPACE/NAME';
    case 'namespace':
      return /^[^/\s,*]+$/.test(value) ? undefined : 'is no name of a namespace';
    case 'statuses':
      return /^[0-5](?:\d\d|xx)$/.test(value) ? undefined : 'is no status such as 404 or 5xx';
    case 'requestPaths':
      return value.includes('?') || !value.startsWith('/')
        ? 'is no path of requests: it begins with / and has no query'
        : undefined;
    case 'ways':
      return isOneOf(edgePaths, value);
    case 'outcomes':
      return isOneOf(tapOutcomes, value);
    case 'kinds':
      return isOneOf(tapKinds, value);
    case 'identities':
    case 'methods':
      return undefined;
  }
}

type Check = (subject: TapSubject) => boolean;

/** A value with a `*` at its end is a prefix. */
const prefixOf = (value: string): string | undefined =>
  value.endsWith('*') ? value.slice(0, -1) : undefined;

function identityCheck(values: readonly string[]): Check {
  const tests = values.map((value) => {
    const prefix = prefixOf(value);
    return (id: string | undefined): boolean =>
      id !== undefined && (prefix === undefined ? id === value : id.startsWith(prefix));
  });
  return (one) => tests.some((test) => test(one.sourceIdentity) || test(one.destinationIdentity));
}

/** Values have no `?`: so that no filter finds out what a query says. */
function requestPathCheck(values: readonly string[]): Check {
  const tests = values.map((value) => {
    const prefix = prefixOf(value);
    if (prefix !== undefined) return (path: string): boolean => path.startsWith(prefix);
    const { length } = value;
    return (path: string): boolean =>
      path.startsWith(value) && (path.length === length || path.charCodeAt(length) === 0x3f);
  });
  return ({ requestPath }) => tests.some((test) => test(requestPath));
}

function statusCheck(values: readonly string[]): Check {
  const exact = new Set(values.filter((value) => !value.endsWith('xx')).map(Number));
  const classes = new Set(values.filter((value) => value.endsWith('xx')).map((value) => Number(value[0])));
  return ({ kind, status }) =>
    kind === 'request' && (exact.has(status) || classes.has(Math.trunc(status / 100)));
}

function workloadCheck(values: readonly string[]): Check {
  const parts = values.map((value) => value.split('/') as [string, string]);
  return (one) =>
    parts.some(
      ([namespace, name]) =>
        (one.sourceWorkload === name && one.sourceNamespace === namespace) ||
        (one.destinationWorkload === name && one.destinationNamespace === namespace),
    );
}

const isBorder = (text: string, at: number): boolean =>
  at < 0 || at >= text.length || text[at] === ',' || text[at] === ' ' || text[at] === ':';

/** Whether the names contain this one: `KIND NAMESPACE/NAME ENTRY`, or several with commas between them. */
function namesPolicy(names: string, policy: string): boolean {
  for (let at = names.indexOf(policy); at >= 0; at = names.indexOf(policy, at + 1))
    if (isBorder(names, at - 1) && isBorder(names, at + policy.length)) return true;
  return false;
}

const policyCheck =
  (values: readonly string[]): Check =>
  ({ policy, audited }) =>
    values.some((value) => namesPolicy(policy, value) || audited.some((one) => namesPolicy(one, value)));

/**
 * Compiles a filter. The namespace comes first, so that the other checks of a reader of one namespace cost nothing for connections between others.
 * Of the rest the cheapest come first: most events match none.
 */
export function compileTapFilter(filter: TapFilter): Check {
  const {
    namespace,
    workloads,
    identities,
    requestPaths,
    ways,
    statuses,
    policies,
    outcomes,
    methods,
    kinds,
  } = filter;
  const checks: Check[] = [];
  if (namespace !== undefined)
    checks.push((one) => one.sourceNamespace === namespace || one.destinationNamespace === namespace);
  const add = (values: readonly string[] | undefined, check: (values: readonly string[]) => Check): void => {
    if (values && values.length > 0) checks.push(check(values));
  };
  add(
    kinds,
    (values) =>
      ({ kind }) =>
        values.includes(kind),
  );
  add(statuses, statusCheck);
  add(
    methods,
    (values) =>
      ({ method }) =>
        values.includes(method),
  );
  add(requestPaths, requestPathCheck);
  add(
    ways,
    (values) =>
      ({ way }) =>
        values.includes(way),
  );
  add(
    outcomes,
    (values) =>
      ({ outcome }) =>
        values.includes(outcome),
  );
  add(policies, policyCheck);
  add(identities, identityCheck);
  add(workloads, workloadCheck);
  const [only] = checks;
  if (only && checks.length === 1) return only;
  return (subject) => {
    for (const check of checks) if (!check(subject)) return false;
    return true;
  };
}

/** An event, as filters read it. */
export const subjectOfEvent = (event: TapEvent): TapSubject => ({
  kind: event.kind,
  outcome: event.outcome,
  way: event.path,
  sourceNamespace: event.source.namespace,
  sourceWorkload: event.source.workload,
  sourceIdentity: event.source.identity,
  destinationNamespace: event.destination.namespace,
  destinationWorkload: event.destination.workload,
  destinationIdentity: event.destination.identity,
  policy: event.policy ?? '',
  audited: event.audited ?? [],
  method: event.request?.method ?? '',
  requestPath: event.request?.path ?? '',
  status: event.request?.status ?? 0,
});

/** What a program saw, and which taps want it. */
export interface TappedEvent {
  readonly taps: readonly number[];
  readonly event: TapEvent;
}

/** What a reader of a tap gets, in order. */
export type TapLine =
  | { readonly event: TapEvent }
  /** So many events are not shown: the reader, a program or the control plane was too slow for them. */
  | { readonly lost: number }
  /** Replicas of the control plane that do not answer: what programs connected to them see is not shown. */
  | { readonly missing: readonly string[] }
  /** The tap has begun: so many programs are connected to the replica that serves it. */
  | { readonly programs: number };

const listFields = {
  workload: 'workloads',
  identity: 'identities',
  requestPath: 'requestPaths',
  way: 'ways',
  status: 'statuses',
  policy: 'policies',
  outcome: 'outcomes',
  method: 'methods',
  kind: 'kinds',
} as const;

/** The query as parameters of a URL. The namespace is not among them: it is in the URL's path, or a parameter of its own. */
export function tapParameters({ filter, sampleOf }: TapQuery): URLSearchParams {
  const parameters = new URLSearchParams();
  for (const [name, field] of Object.entries(listFields))
    for (const value of filter[field] ?? []) parameters.append(name, value);
  if (sampleOf !== 1) parameters.set('sampleOf', String(sampleOf));
  return parameters;
}

/** The query of a URL, or why it cannot be used. */
export function tapQueryOf(
  parameters: URLSearchParams,
  namespace: string | undefined,
): { readonly query: TapQuery } | { readonly problem: string } {
  const filter: Record<string, string | readonly string[]> = namespace === undefined ? {} : { namespace };
  for (const [name, field] of Object.entries(listFields)) {
    const values = parameters.getAll(name);
    if (values.length > 0) filter[field] = values;
  }
  const query: TapQuery = {
    filter: filter as TapFilter,
    sampleOf: Number(parameters.get('sampleOf') ?? '1'),
  };
  const problem = tapProblem(query);
  return problem === undefined ? { query } : { problem };
}
