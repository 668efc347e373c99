/**
 * Responds to requests of the aggregated API observe.weft.dev, for a user whom the front proxy named: who calls whom, what changed, what concerns two
 * ends, and taps. `weft edges`, `weft changes`, `weft explain`, `weft tap`, `weft policy` and `weft bug-report` read it, with any credential that the
 * API server accepts.
 */
import type { Change, ChangesAnswer } from '../../src/model/change.js';
import type { Edge } from '../../src/model/edge.js';
import {
  isBySlotOf,
  observedResources,
  observeApi,
  tapResource,
  type ObservedQuery,
  type ObservedResource,
} from '../../src/model/observe-api.js';
import type { ChangeSource } from '../changes/replicas.js';
import type { EdgeSource } from '../edges/edge-source.js';
import { endsOf, TooMuch, type ExplainSource } from '../explain/explained.js';
import type { TapSource } from '../taps/tap-source.js';
import type { ApiGroup, ApiResponse } from './api-group.js';
import { forbidden, type Authorizer, type ResourceAttributes } from './authorizer.js';
import { changesTable } from './changes-table.js';
import { changeForReader } from './changes-view.js';
import type { ComputedRates } from './computed-rates.js';
import { edgesTable } from './edges-table.js';
import { edgeForReader, namespacesOf } from './edges-view.js';
import type { User } from './front-proxy.js';
import { readableNamespaces } from './readable-namespaces.js';
import { StatusError } from './status.js';
import { wantsTable } from './table.js';
import { TapRequests } from './tap-requests.js';

const root = `/apis/${observeApi.group}/${observeApi.version}/`;
const patternOf = (...resources: readonly string[]): RegExp =>
  new RegExp(`^(?:namespaces/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)/)?(${resources.join('|')})/?$`);
const pathPattern = patternOf(...observedResources);
const tapPattern = patternOf(tapResource);
const kinds: Readonly<Record<ObservedResource, string>> = {
  edges: 'Edge',
  changes: 'Change',
  explanations: 'Explanation',
};

/** The namespace of a tap's URL, undefined within: all. Undefined: it is none. Pure. */
function tapOf({ pathname }: URL): { readonly namespace: string | undefined } | undefined {
  const found = pathname.startsWith(root) ? tapPattern.exec(pathname.slice(root.length)) : null;
  return found ? { namespace: found[1] } : undefined;
}

export interface ObservedRequest {
  readonly resource: ObservedResource;
  /** Undefined: of all namespaces. */
  readonly namespace: string | undefined;
  readonly sinceMs: number;
  /** Counts of edges are also wanted by time. */
  readonly isBySlot?: boolean;
}

/** The request of a URL. Error: StatusError. */
export function parseObservedRequest({ pathname, searchParams }: URL): ObservedRequest {
  const found = pathname.startsWith(root) ? pathPattern.exec(pathname.slice(root.length)) : null;
  const resource = observedResources.find((one) => one === found?.[2]);
  if (!found || resource === undefined)
    throw new StatusError('NotFound', `${pathname.slice(0, 256)} is not served: GET ${root} lists what is`);
  if (['true', '1'].includes(searchParams.get('watch') ?? ''))
    throw new StatusError('MethodNotAllowed', `${resource} cannot be watched: list them again`);
  const since = searchParams.get('sinceMs') ?? '0';
  if (!/^\d{1,15}$/.test(since))
    throw new StatusError('BadRequest', 'sinceMs: it is no number of milliseconds');
  const isBySlot = resource === 'edges' && isBySlotOf(searchParams);
  return { resource, namespace: found[1], sinceMs: Number(since), ...(isBySlot ? { isBySlot } : {}) };
}

export interface ObserveApiOptions {
  readonly edges: EdgeSource;
  readonly changes: ChangeSource;
  readonly explanations: Pick<ExplainSource, 'query'>;
  readonly taps: TapSource;
  readonly authorizer: Pick<Authorizer, 'isAllowed'>;
  /** Its policies apply to every namespace, and are named to every reader. */
  readonly rootNamespace: string;
  /** Those of all groups: their responses are computed by one process. */
  readonly rates: ComputedRates;
  readonly onLimit: (limit: string) => void;
}

/** Whether the user may list the resource in a namespace; undefined: in all. */
type MayList = (namespace: string | undefined) => Promise<boolean>;

/** What the user may see. */
interface Shown {
  readonly items: readonly object[];
  /** Absent: as a list alone. */
  readonly table?: () => object;
  readonly sinceMs: number;
  readonly missing: readonly string[];
  /** Of edges: as `EdgeAnswer` says it. */
  readonly isBySlot?: boolean;
  /** What is left out. */
  readonly warnings: readonly string[];
}

const attributesOf = (resource: ObservedResource, namespace: string | undefined): ResourceAttributes => ({
  ...observeApi,
  resource,
  verb: 'list',
  namespace: namespace ?? '',
});

export class ObserveApi implements ApiGroup {
  readonly group = observeApi.group;
  readonly version = observeApi.version;
  readonly resources = [
    ...observedResources.map((name) => ({ name, namespaced: true, kind: kinds[name], verbs: ['list'] })),
    { name: tapResource, namespaced: true, kind: 'Tap', verbs: ['watch'] },
  ];
  readonly #options: ObserveApiOptions;
  readonly #taps: TapRequests;

  constructor(options: ObserveApiOptions) {
    this.#options = options;
    this.#taps = new TapRequests(options);
  }

  /** Errors: StatusError. */
  async respond(user: User, url: URL, accept = ''): Promise<ApiResponse> {
    const tap = tapOf(url);
    if (tap) return this.#taps.watch(user, tap.namespace, url.searchParams);
    const { resource, ...query } = parseObservedRequest(url);
    const mayList: MayList = (of) => this.#options.authorizer.isAllowed(user, attributesOf(resource, of));
    if (!(await mayList(query.namespace))) throw forbidden(user, attributesOf(resource, query.namespace));
    this.#options.rates.take(user);
    const shown = await this.#shown(resource, query, mayList, url.searchParams);
    const { items, sinceMs, missing, isBySlot } = shown;
    return {
      body:
        wantsTable(accept) && shown.table
          ? shown.table()
          : {
              kind: `${kinds[resource]}List`,
              apiVersion: `${observeApi.group}/${observeApi.version}`,
              metadata: {},
              items,
              sinceMs,
              missing,
              ...(isBySlot === true ? { isBySlot } : {}),
            },
      warnings: [
        ...(missing.length > 0
          ? [`incomplete: ${missing.length} replicas of the control plane did not answer`]
          : []),
        ...shown.warnings,
      ],
    };
  }

  #shown(
    resource: ObservedResource,
    query: ObservedQuery,
    mayList: MayList,
    search: URLSearchParams,
  ): Promise<Shown> {
    switch (resource) {
      case 'edges':
        return this.#edges(query, mayList);
      case 'changes':
        return this.#changes(query, mayList);
      case 'explanations':
        return this.#explanations(search, mayList);
    }
  }

  async #explanations(search: URLSearchParams, mayList: MayList): Promise<Shown> {
    const ends = endsOf(search);
    if (!ends)
      throw new StatusError('BadRequest', 'say source or identity, and destination: weft explain asks so');
    const { explanations, onLimit } = this.#options;
    try {
      const item = await explanations.query(
        ends,
        async (namespaces) => (await readableNamespaces(namespaces, mayList, onLimit)).named,
      );
      return { items: [item], sinceMs: 0, missing: [], warnings: [] };
    } catch (error) {
      if (!(error instanceof TooMuch)) throw error;
      onLimit('explanation-size');
      throw new StatusError('RequestEntityTooLarge', error.message);
    }
  }

  async #edges(query: ObservedQuery, mayList: MayList): Promise<Shown> {
    const answer = await this.#options.edges.query(query);
    const { edges, hidden } =
      query.namespace === undefined
        ? { edges: answer.edges, hidden: 0 }
        : await this.#edgesOf(answer.edges, query.namespace, mayList);
    return {
      ...answer,
      items: edges,
      table: () => edgesTable(edges),
      warnings: hidden > 0 ? [`workloads of ${hidden} namespaces are not named`] : [],
    };
  }

  async #edgesOf(
    edges: readonly Edge[],
    namespace: string,
    mayList: MayList,
  ): Promise<{ readonly edges: readonly Edge[]; readonly hidden: number }> {
    const others = new Set(edges.flatMap((edge) => namespacesOf(edge)));
    others.delete(namespace);
    others.delete('');
    const { named, left } = await readableNamespaces([...others].sort(), mayList, this.#options.onLimit);
    const known = new Set([...named, namespace]);
    const { rootNamespace } = this.#options;
    return { edges: edges.map((edge) => edgeForReader(edge, known, rootNamespace)), hidden: left };
  }

  async #changes(query: ObservedQuery, mayList: MayList): Promise<Shown> {
    const { namespace } = query;
    const answer: ChangesAnswer = await this.#options.changes.query(query);
    const changes: readonly Change[] =
      namespace === undefined || (await mayList(undefined))
        ? answer.changes
        : answer.changes.map((change) => changeForReader(change, namespace));
    return { ...answer, items: changes, table: () => changesTable(changes), warnings: [] };
  }
}
