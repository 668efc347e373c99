/** Requests of the aggregated API metrics.smi-spec.io, from their URLs. Pure. */
import { isMetricPlural, metricKinds, type MetricPlural } from '../dialects/smi/metric-resources.js';
import { metricsGroup, metricsVersion } from '../dialects/smi/traffic-metrics.js';
import type { Labels } from '../../src/model/labels.js';
import type { ResourceAttributes } from './authorizer.js';
import { parseSelector } from './label-selector.js';
import { StatusError } from './status.js';

export interface MetricsRequest {
  readonly verb: 'get' | 'list';
  readonly plural: MetricPlural;
  /** Undefined: of all namespaces, or the kind has none. */
  readonly namespace: string | undefined;
  /** Undefined: a list. */
  readonly name: string | undefined;
  readonly isEdges: boolean;
  readonly mayHave: (labels: Labels) => boolean;
  /** Items of a page. */
  readonly limit: number;
  /** The page begins after this key. */
  readonly after: string;
}

const pageMax = 5_000;
const namePattern = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;
const root = `/apis/${metricsGroup}/${metricsVersion}/`;

const notFound = (path: string): StatusError =>
  new StatusError('NotFound', `${path.slice(0, 256)} is not served: GET ${root} lists what is`);

/** The request of a path below the version. Error: StatusError. */
export function parseMetricsRequest(path: string, query: URLSearchParams): MetricsRequest {
  if (query.get('watch') === 'true' || query.get('watch') === '1')
    throw new StatusError('MethodNotAllowed', 'metrics cannot be watched: list them again');
  if ((query.get('fieldSelector') ?? '') !== '')
    throw new StatusError('BadRequest', 'fieldSelector: metrics are selected by name or by labels');
  const mayHave = parseSelector(query.get('labelSelector') ?? '');
  if (!mayHave) throw new StatusError('BadRequest', 'labelSelector: it cannot be parsed');
  return { ...addressOf(path), mayHave, ...pageOf(query) };
}

function addressOf(path: string): Pick<MetricsRequest, 'verb' | 'plural' | 'namespace' | 'name' | 'isEdges'> {
  if (!path.startsWith(root)) throw notFound(path);
  const [first = '', ...rest] = path.slice(root.length).replace(/\/$/, '').split('/');
  // As the API server: namespaces/NS/pods are pods, namespaces/NS and namespaces/NS/edges are the namespace.
  const isIn = first === 'namespaces' && rest.length >= 2 && rest[1] !== 'edges';
  const [plural = '', name, sub, ...more] = isIn ? rest.slice(1) : [first, ...rest];
  const namespace = isIn ? rest[0] : undefined;
  if (!isMetricPlural(plural) || more.length > 0 || (sub !== undefined && sub !== 'edges'))
    throw notFound(path);
  const { isNamespaced } = metricKinds[plural];
  // Names of a namespaced kind are in a namespace; only its list may be of all of them.
  if (isIn !== isNamespaced && (isIn || name !== undefined)) throw notFound(path);
  for (const one of [namespace, name]) if (one !== undefined && !namePattern.test(one)) throw notFound(path);
  if (plural === 'trafficsplits' && sub !== undefined) throw notFound(path);
  return { verb: name === undefined ? 'list' : 'get', plural, namespace, name, isEdges: sub === 'edges' };
}

function pageOf(query: URLSearchParams): Pick<MetricsRequest, 'limit' | 'after'> {
  const text = query.get('limit') ?? '';
  if (!/^\d{0,9}$/.test(text)) throw new StatusError('BadRequest', 'limit: it is no number');
  const wanted = Number(text);
  const after = Buffer.from(query.get('continue') ?? '', 'base64url').toString('utf8');
  return { limit: wanted === 0 ? pageMax : Math.min(wanted, pageMax), after };
}

/** What the user has to be allowed to do. */
export function attributesOf({ verb, plural, namespace, name, isEdges }: MetricsRequest): ResourceAttributes {
  return {
    group: metricsGroup,
    version: metricsVersion,
    resource: plural,
    ...(isEdges ? { subresource: 'edges' } : {}),
    verb,
    // As the API server: a namespace is in itself, so that a right in the namespace is enough.
    namespace: plural === 'namespaces' ? (name ?? '') : (namespace ?? ''),
    ...(name === undefined ? {} : { name }),
  };
}
