/** Responds to requests of the aggregated API metrics.smi-spec.io, for a user whom the front proxy named. */
import { RateLimiter } from '../../src/base/rate-limiter.js';
import type { EdgeAnswer } from '../../src/model/edge.js';
import type { EdgeSource } from '../edges/edge-source.js';
import { slotMs } from '../edges/edge-store.js';
import { metricKinds, type MetricsLookup } from '../dialects/smi/metric-resources.js';
import {
  itemKey,
  metricsApiVersion,
  metricsGroup,
  trafficMetricsEdges,
  trafficMetricsList,
  type Observed,
  type TrafficMetrics,
} from '../dialects/smi/traffic-metrics.js';
import type { Authorizer } from './authorizer.js';
import { discoveryDocuments } from './discovery.js';
import type { User } from './front-proxy.js';
import { attributesOf, parseMetricsRequest, type MetricsRequest } from './metrics-request.js';
import { StatusError } from './status.js';
import { tableOf, wantsTable } from './table.js';

/** The time that the metrics are about: at least `windowMs`, from the beginning of a slot in which edges are kept. */
const windowMs = 30_000;
/** The edges of a namespace are asked for once in this time. */
const answerMs = 1_000;
const answersMax = 256;
/** Responses that are computed: with 10000 edges one takes a tenth of a second, in which the control plane does nothing else. */
export const computedRates = {
  perUser: { perSecond: 2, burst: 40 },
  all: { perSecond: 10, burst: 100 },
} as const;
/** Namespaces of peers for which the reader's right is asked. */
const peerNamespacesMax = 64;

export interface ApiResponse {
  readonly body: object;
  readonly warnings?: readonly string[];
}

export interface MetricsApiOptions {
  readonly edges: EdgeSource;
  readonly lookup: MetricsLookup;
  readonly authorizer: Pick<Authorizer, 'isAllowed'>;
  readonly onLimit: (limit: string) => void;
  /** Milliseconds since the epoch. */
  readonly nowMs?: () => number;
}

interface Answered extends Observed {
  readonly missing: number;
}

export class MetricsApi {
  readonly #options: MetricsApiOptions;
  readonly #answers = new Map<string, { readonly atMs: number; readonly answer: Promise<Answered> }>();

  readonly #perUser = new RateLimiter(computedRates.perUser, 1_024);
  readonly #all = new RateLimiter(computedRates.all);

  constructor(options: MetricsApiOptions) {
    this.#options = options;
  }

  /** Errors: StatusError. */
  async respond(user: User, target: string, accept = ''): Promise<ApiResponse> {
    const { pathname, searchParams } = urlOf(target);
    const document = discoveryDocuments[pathname.replace(/\/$/, '')];
    if (document) return { body: document };
    const request = parseMetricsRequest(pathname, searchParams);
    await this.#authorize(user, request);
    this.#take(user);
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
    const { resource, subresource, verb, namespace, name } = attributes;
    const what = subresource === undefined ? resource : `${resource}/${subresource}`;
    throw new StatusError(
      'Forbidden',
      `${resource}.${metricsGroup}${name === undefined ? '' : ` "${name}"`} is forbidden: User ${JSON.stringify(user.user)} cannot ${verb} ` +
        `resource "${what}" in API group "${metricsGroup}" ${namespace === '' ? 'at the cluster scope' : `in the namespace "${namespace}"`}`,
    );
  }

  /** Error: StatusError TooManyRequests. */
  #take({ user }: User): void {
    // The user's own rate is checked first: a user above it must not use up the rate of all.
    const waitMs = this.#perUser.takeOrWait(user) || this.#all.takeOrWait('');
    if (waitMs === 0) return;
    this.#options.onLimit('metrics-api-rate');
    throw new StatusError(
      'TooManyRequests',
      'too many requests for metrics: try again',
      Math.ceil(waitMs / 1000),
    );
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
    if (namespaces.length === 0) return { named: new Set(), warnings: [] };
    if (await mayRead(undefined)) return { named: new Set(namespaces), warnings: [] };
    const checked = namespaces.slice(0, peerNamespacesMax);
    const left = namespaces.length - checked.length;
    if (left > 0) this.#options.onLimit('metrics-api-peers');
    const allowed = await Promise.all(checked.map(mayRead));
    return {
      named: new Set(checked.filter((_, index) => allowed[index])),
      warnings: left > 0 ? [`peers of ${left} namespaces are not named`] : [],
    };
  }

  /** The edges that a request is about. Requests of the same second share them. */
  #observe({ namespace, plural, name }: MetricsRequest): Promise<Answered> {
    const of = plural === 'namespaces' ? name : namespace;
    const nowMs = this.#options.nowMs?.() ?? Date.now();
    const key = of ?? '';
    const known = this.#answers.get(key);
    if (known && Math.abs(nowMs - known.atMs) < answerMs) return known.answer;
    const sinceMs = Math.floor((nowMs - windowMs) / slotMs) * slotMs;
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

function urlOf(target: string): URL {
  try {
    return new URL(target, 'https://localhost');
  } catch {
    throw new StatusError('BadRequest', 'the path cannot be parsed');
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
  if (isTable) return tableOf(items, metadata);
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
