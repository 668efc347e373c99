/**
 * Responds to requests of the aggregated API observe.weft.dev: who calls whom, for a user whom the front proxy named. `weft edges` and `weft policy`
 * read it, with any credential that the API server accepts.
 */
import { edgesApi, otherName, type Edge, type EdgeParty } from '../../src/model/edge.js';
import type { EdgeSource } from '../edges/edge-source.js';
import type { ApiGroup, ApiResponse } from './api-group.js';
import { forbidden, type Authorizer, type ResourceAttributes } from './authorizer.js';
import type { ComputedRates } from './computed-rates.js';
import { edgesTable } from './edges-table.js';
import type { User } from './front-proxy.js';
import { readableNamespaces } from './readable-namespaces.js';
import { StatusError } from './status.js';
import { wantsTable } from './table.js';

const root = `/apis/${edgesApi.group}/${edgesApi.version}/`;
const pathPattern = /^(?:namespaces\/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\/)?edges\/?$/;

export interface EdgesRequest {
  /** Undefined: of all namespaces. */
  readonly namespace: string | undefined;
  readonly sinceMs: number;
}

/** The request of a URL. Error: StatusError. */
export function parseEdgesRequest({ pathname, searchParams }: URL): EdgesRequest {
  const found = pathname.startsWith(root) ? pathPattern.exec(pathname.slice(root.length)) : null;
  if (!found)
    throw new StatusError('NotFound', `${pathname.slice(0, 256)} is not served: GET ${root} lists what is`);
  if (['true', '1'].includes(searchParams.get('watch') ?? ''))
    throw new StatusError('MethodNotAllowed', 'edges cannot be watched: list them again');
  const since = searchParams.get('sinceMs') ?? '0';
  if (!/^\d{1,15}$/.test(since))
    throw new StatusError('BadRequest', 'sinceMs: it is no number of milliseconds');
  return { namespace: found[1], sinceMs: Number(since) };
}

export interface EdgesApiOptions {
  readonly edges: EdgeSource;
  readonly authorizer: Pick<Authorizer, 'isAllowed'>;
  /** Its policies apply to every namespace, and are named to every reader. */
  readonly rootNamespace: string;
  /** Those of all groups: their responses are computed by one process. */
  readonly rates: ComputedRates;
  readonly onLimit: (limit: string) => void;
}

const attributesOf = (namespace: string | undefined): ResourceAttributes => ({
  group: edgesApi.group,
  version: edgesApi.version,
  resource: edgesApi.resource,
  verb: 'list',
  namespace: namespace ?? '',
});

export class EdgesApi implements ApiGroup {
  readonly group = edgesApi.group;
  readonly version = edgesApi.version;
  readonly resources = [{ name: edgesApi.resource, namespaced: true, kind: 'Edge', verbs: ['list'] }];
  readonly #options: EdgesApiOptions;

  constructor(options: EdgesApiOptions) {
    this.#options = options;
  }

  /** Errors: StatusError. */
  async respond(user: User, url: URL, accept = ''): Promise<ApiResponse> {
    const request = parseEdgesRequest(url);
    const { namespace } = request;
    const mayList = (of: string | undefined): Promise<boolean> =>
      this.#options.authorizer.isAllowed(user, attributesOf(of));
    if (!(await mayList(namespace))) throw forbidden(user, attributesOf(namespace));
    this.#options.rates.take(user);
    const answer = await this.#options.edges.query(request);
    const { edges, hidden } =
      namespace === undefined
        ? { edges: answer.edges, hidden: 0 }
        : await this.#shown(answer.edges, namespace, mayList);
    const { sinceMs, missing } = answer;
    return {
      body: wantsTable(accept)
        ? edgesTable(edges)
        : {
            kind: 'EdgeList',
            apiVersion: `${edgesApi.group}/${edgesApi.version}`,
            metadata: {},
            items: edges,
            sinceMs,
            missing,
          },
      warnings: [
        ...(missing.length > 0
          ? [`incomplete: ${missing.length} replicas of the control plane did not answer`]
          : []),
        ...(hidden > 0 ? [`workloads of ${hidden} namespaces are not named`] : []),
      ],
    };
  }

  async #shown(
    edges: readonly Edge[],
    namespace: string,
    mayList: (of: string | undefined) => Promise<boolean>,
  ): Promise<{ readonly edges: readonly Edge[]; readonly hidden: number }> {
    const others = new Set(edges.flatMap((edge) => namespacesOf(edge)));
    others.delete(namespace);
    others.delete('');
    const { named, left } = await readableNamespaces([...others].sort(), mayList, this.#options.onLimit);
    const known = new Set([...named, namespace]);
    const { rootNamespace } = this.#options;
    return { edges: edges.map((edge) => edgeForReader(edge, known, rootNamespace)), hidden: left };
  }
}

/**
 * Namespaces of the policies that an edge names: `NAMESPACE/NAME`, or `KIND NAMESPACE/NAME ENTRY` if a waypoint refused a request by its token,
 * rate or decision. Several names have commas between them. Pure.
 */
const policyNamespaces = (policy: string): readonly string[] =>
  policy.split(',').flatMap((one) => /(?:^|\s)([^\s/]+)\//.exec(one)?.[1] ?? []);

const namespacesOf = ({ source, destination, policy }: Edge): readonly string[] => [
  source.namespace,
  destination.namespace,
  ...policyNamespaces(policy),
];

/**
 * An edge as a reader of some namespaces sees it. Of a peer elsewhere it has what the reader's own pods see of it: namespace, identity, and the
 * Service that they dial. Workloads, pods and policies of the other namespace are not named. Pure.
 */
export function edgeForReader(edge: Edge, known: ReadonlySet<string>, rootNamespace: string): Edge {
  const party = (of: EdgeParty): EdgeParty =>
    // `other` stands for what is beyond the limits. A workload may have that name, too: then its pod has another one.
    of.namespace === '' || known.has(of.namespace) || (of.workload === otherName && of.pod === otherName)
      ? of
      : { ...of, workload: '', pod: '' };
  const isNamed = policyNamespaces(edge.policy).every((one) => one === rootNamespace || known.has(one));
  return {
    ...edge,
    source: party(edge.source),
    destination: party(edge.destination),
    policy: isNamed ? edge.policy : '',
  };
}
