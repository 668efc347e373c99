/** Responds to requests of the aggregated API metrics.smi-spec.io, for a user whom the front proxy named. */
import { edgeSlotMs, type EdgeAnswer } from '../../src/model/edge.js';
import type { EdgeSource } from '../edges/edge-source.js';
import { metricKinds, type MetricsLookup } from '../dialects/smi/metric-resources.js';
import {
  itemKey,
  metricsApiVersion,
  metricsGroup,
  metricsVersion,
  trafficMetricsEdges,
  trafficMetricsList,
  type Observed,
  type TrafficMetrics,
} from '../dialects/smi/traffic-metrics.js';
import type { ApiGroup, ApiResource, ApiResponse } from './api-group.js';
import { forbidden, type Authorizer } from './authorizer.js';
import type { ComputedRates } from './computed-rates.js';
import type { User } from './front-proxy.js';
import { attributesOf, parseMetricsRequest, type MetricsRequest } from './metrics-request.js';
import { readableNamespaces } from './readable-namespaces.js';
import { StatusError } from './status.js';
import { metricsTable } from './metrics-table.js';
import { wantsTable } from './table.js';

/** The time that the metrics are about: at least `windowMs`, from the beginning of a slot in which edges are kept. */
const windowMs = 30_000;
/** The edges of a namespace are asked for once in this time. */
const answerMs = 1_000;
const answersMax = 256;

export interface MetricsApiOptions {
  readonly edges: EdgeSource;
  readonly lookup: MetricsLookup;
  readonly authorizer: Pick<Authorizer, 'isAllowed'>;
  /** Those of all groups: their responses are computed by one process. */
  readonly rates: ComputedRates;
  readonly onLimit: (limit: string) => void;
  /** Milliseconds since the epoch. */
  readonly nowMs?: () => number;
}

interface Answered extends Observed {
  readonly missing: number;
}

const resources: readonly ApiResource[] = Object.entries(metricKinds).flatMap(([name, { isNamespaced }]) => {
  const resource = { namespaced: isNamespaced, kind: 'TrafficMetrics' };
  return [
    { name, ...resource, verbs: ['get', 'list'] },
    ...(name === 'trafficsplits' ? [] : [{ name: `${name}/edges`, ...resource, verbs: ['get'] }]),
  ];
});

export class MetricsApi implements ApiGroup {
  readonly group = metricsGroup;
  readonly version = metricsVersion;
  readonly resources = resources;
  readonly #options: MetricsApiOptions;
  readonly #answers = new Map<string, { readonly atMs: number; readonly answer: Promise<Answered> }>();

  constructor(options: MetricsApiOptions) {
    this.#options = options;
  }

  /** Errors: StatusError. */
  async respond(user: User, { pathname, searchParams }: URL, accept = ''): Promise<ApiResponse> {
    const request = parseMetricsRequest(pathname, searchParams);
    await this.#authorize(user, request);
    this.#options.rates.take(user);
    const observed = await this.#observe(request);
    const { items, warnings } = await this.#itemsOf(user, request, observed);
    const missing =
      observed.missing === 0
        ? []
        : [`incomplete: ${observed.missing} replicas of the control plane did not answer`];
    const [only] = items;
    // Of a TrafficSplit there is an object for each backend.
    const isSingle = request.verb === 'get' && !request.isEdges && request.plural !== 'trafficsplits';
    if (request.verb === 'get' && !request.isEdges && !only) throw absent(request);
    const body =
      isSingle && only && !wantsTable(accept) ? only : listBody(request, items, wantsTable(accept));
    return { body, warnings: [...missing, ...warnings] };
  }

  async #authorize(user: User, request: MetricsRequest): Promise<void> {
    const attributes = attributesOf(request);
    if (await this.#options.authorizer.isAllowed(user, attributes)) return;
    throw forbidden(user, attributes);
  }

  async #itemsOf(
    user: User,
    request: MetricsRequest,
    observed: Observed,
  ): Promise<{ readonly items: readonly TrafficMetrics[]; readonly warnings: readonly string[] }> {
    const { plural, namespace, name, isEdges, mayHave } = request;
    const { lookup } = this.#options;
    if (name === undefined)
      return { items: trafficMetricsList(plural, namespace, observed, lookup, { mayHave }), warnings: [] };
    const own = trafficMetricsList(plural, namespace, observed, lookup, { name });
    if (!isEdges || plural === 'trafficsplits') return { items: own, warnings: [] };
    if (own.length === 0) throw absent(request);
    const edges = (mayName: (of: string) => boolean): readonly TrafficMetrics[] =>
      trafficMetricsEdges(plural, namespace, name, observed, lookup, mayName);
    const asked = new Set<string>();
    edges((of) => asked.add(of) !== undefined);
    const { named, warnings } = await this.#named(user, request, [...asked].sort());
    return { items: edges((of) => named.has(of)), warnings };
  }

  /** Of these namespaces those whose resources the user may read. */
  async #named(
    user: User,
    request: MetricsRequest,
    namespaces: readonly string[],
  ): Promise<{ readonly named: ReadonlySet<string>; readonly warnings: readonly string[] }> {
    const mayRead = (namespace: string | undefined): Promise<boolean> => {
      const name = request.plural === 'namespaces' ? namespace : undefined;
      const verb = name === undefined ? 'list' : 'get';
      return this.#options.authorizer.isAllowed(
        user,
        attributesOf({ ...request, verb, namespace, name, isEdges: false }),
      );
    };
    const { named, left } = await readableNamespaces(namespaces, mayRead, this.#options.onLimit);
    return { named, warnings: left > 0 ? [`peers of ${left} namespaces are not named`] : [] };
  }

  /** The edges that a request is about. Requests of the same second share them. */
  #observe({ namespace, plural, name }: MetricsRequest): Promise<Answered> {
    const of = plural === 'namespaces' ? name : namespace;
    const nowMs = this.#options.nowMs?.() ?? Date.now();
    const key = of ?? '';
    const known = this.#answers.get(key);
    if (known && Math.abs(nowMs - known.atMs) < answerMs) return known.answer;
    const sinceMs = Math.floor((nowMs - windowMs) / edgeSlotMs) * edgeSlotMs;
    const answer = this.#options.edges
      .query({ namespace: of, sinceMs })
      .then(({ edges, sinceMs: observedSinceMs, missing }: EdgeAnswer): Answered => ({
        edges,
        sinceMs: Math.min(nowMs, Math.max(sinceMs, observedSinceMs)),
        nowMs,
        missing: missing.length,
      }));
    this.#answers.delete(key);
    const [oldest] = this.#answers.keys();
    if (oldest !== undefined && this.#answers.size >= answersMax) this.#answers.delete(oldest);
    this.#answers.set(key, { atMs: nowMs, answer });
    answer.catch(() => this.#answers.delete(key));
    return answer;
  }
}

const absent = ({ plural, namespace, name }: MetricsRequest): StatusError =>
  new StatusError(
    'NotFound',
    `${plural}.${metricsGroup} "${namespace === undefined ? '' : `${namespace}/`}${name}" not found: ` +
      'it does not exist, or it is not in the mesh and had no traffic',
  );

function listBody(request: MetricsRequest, all: readonly TrafficMetrics[], isTable: boolean): object {
  const { plural, namespace, name, limit, after } = request;
  const rest = after === '' ? all : all.filter((item) => itemKey(item) > after);
  const items = rest.slice(0, limit);
  const last = items.at(-1);
  const metadata =
    last && rest.length > items.length
      ? {
          continue: Buffer.from(itemKey(last)).toString('base64url'),
          remainingItemCount: rest.length - items.length,
        }
      : {};
  if (isTable) return metricsTable(items, metadata);
  return {
    kind: 'TrafficMetricsList',
    apiVersion: metricsApiVersion,
    metadata,
    resource: {
      kind: metricKinds[plural].kind,
      ...(namespace === undefined ? {} : { namespace }),
      ...(name === undefined ? {} : { name }),
    },
    items,
  };
}
