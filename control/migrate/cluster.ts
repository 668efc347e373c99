/** Reads the objects of a live cluster for `weft migrate check --cluster`. */
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';
import { listPathsOf } from '../kinds/api.js';
import { kindNames, kinds, pickFields } from '../kinds/kinds.js';
import type { MeshObject } from '../objects/objects.js';
import { readObject } from '../source/validate.js';
import type { Unread, UnreadKind } from '../../src/state/snapshot.js';
import { sourceObject, type Fields, type Loaded, type SourceObject } from './load.js';
import type { FileProblem } from './report.js';
import { isRecord } from '../../src/base/record.js';

const pageSize = 500;
const pagesMax = 2_000;

/** Linkerd's kinds, by their paths. */
const linkerdPaths: Readonly<Record<string, readonly string[]>> = {
  ServiceProfile: ['/apis/linkerd.io/v1alpha2/serviceprofiles'],
  Server: ['v1beta3', 'v1beta2', 'v1beta1'].map((version) => `/apis/policy.linkerd.io/${version}/servers`),
  ServerAuthorization: ['/apis/policy.linkerd.io/v1beta1/serverauthorizations'],
  AuthorizationPolicy: ['/apis/policy.linkerd.io/v1alpha1/authorizationpolicies'],
  MeshTLSAuthentication: ['/apis/policy.linkerd.io/v1alpha1/meshtlsauthentications'],
  NetworkAuthentication: ['/apis/policy.linkerd.io/v1alpha1/networkauthentications'],
  HTTPLocalRateLimitPolicy: ['/apis/policy.linkerd.io/v1alpha1/httplocalratelimitpolicies'],
  HTTPRoute: ['v1beta3', 'v1beta2', 'v1beta1', 'v1alpha1'].map(
    (version) => `/apis/policy.linkerd.io/${version}/httproutes`,
  ),
  EgressNetwork: ['/apis/policy.linkerd.io/v1alpha1/egressnetworks'],
  ExternalWorkload: ['/apis/workload.linkerd.io/v1beta1/externalworkloads'],
};
/** The `apiVersion` of a list's path. */
const apiVersionOfPath = (path: string): string =>
  path
    .slice(0, path.lastIndexOf('/'))
    .replace(/\/namespaces\/[^/]+$/, '')
    .replace(/^\/apis?\//, '');

interface Listed {
  readonly path: string;
  readonly items: readonly Fields[];
}

/** `listed`: undefined if the kind is not served, or cannot be read. A problem says that it is not all of the objects. */
interface Listing {
  readonly kind: string;
  readonly listed: Listed | undefined;
  readonly problem: FileProblem | undefined;
  /** Why `listed` has not all of them. */
  readonly unread?: UnreadKind;
}

/** All objects at the first of the paths that is served; undefined: none is. Errors: ApiError. */
async function listFirst(config: KubeConfig, paths: readonly string[]): Promise<Listed | undefined> {
  for (const path of paths) {
    const items: Fields[] = [];
    let next: string | undefined;
    try {
      for (let page = 0; page < pagesMax; page++) {
        const query = new URLSearchParams({ limit: String(pageSize), ...(next ? { continue: next } : {}) });
        const list = (await requestJson(config, 'GET', `${path}?${query}`)) as {
          items?: unknown;
          metadata?: { continue?: string };
        };
        items.push(...(Array.isArray(list.items) ? list.items.filter(isRecord) : []));
        next = list.metadata?.continue;
        if (!next) return { path, items };
      }
      throw new ApiError(0, `${path}: more than ${pagesMax * pageSize} objects`);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    }
  }
  return undefined;
}

/** `/api/v1/pods` of one namespace. */
const pathWithin = (path: string, namespace: string): string => {
  const at = path.lastIndexOf('/');
  return `${path.slice(0, at)}/namespaces/${encodeURIComponent(namespace)}${path.slice(at)}`;
};

/**
 * The objects of one namespace, and the Namespace itself, for an account that may not list those of all. Undefined: the account may not read them
 * either, or objects of the kind have no namespace.
 */
async function listWithin(
  config: KubeConfig,
  kind: string,
  paths: readonly string[],
  namespace: string,
): Promise<Listed | undefined> {
  // The API server refuses before it says whether the version is served, so that each is tried.
  for (const path of paths)
    try {
      if (kind === 'Namespace') {
        const item = await requestJson(config, 'GET', `${path}/${encodeURIComponent(namespace)}`);
        return { path, items: isRecord(item) ? [item] : [] };
      }
      const listed = await listFirst(config, [pathWithin(path, namespace)]);
      if (listed) return listed;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 0) throw error;
    }
  return undefined;
}

/**
 * The objects of the cluster. A kind that may not be read is a problem of the report: what it says about other objects may then be wrong.
 * Errors: ApiError, if the cluster does not respond.
 * @param namespace whose objects are read where the account may not read those of all namespaces; absent: none are
 */
export async function loadCluster(config: KubeConfig, namespace?: string): Promise<Loaded> {
  const sources: SourceObject[] = [];
  const objects: MeshObject[] = [];
  const problems: FileProblem[] = [];
  const unread: Unread[] = [];
  const list = async (kind: string, paths: readonly string[]): Promise<Listing> => {
    try {
      return { kind, listed: await listFirst(config, paths), problem: undefined };
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 0) throw error;
      const file = `the cluster's objects of the kind ${kind}`;
      const within =
        namespace === undefined || error.status !== 403
          ? undefined
          : await listWithin(config, kind, paths, namespace);
      const only = within ? `only those of namespace ${namespace} can be read: ` : '';
      return {
        kind,
        listed: within,
        problem: { file, line: 0, message: `${only}${error.message}` },
        unread: {
          name: kind,
          ...(within && namespace !== undefined ? { within: namespace } : {}),
          why: error.message,
        },
      };
    }
  };
  // Together: one after the other they would take a round trip each.
  const [own, linkerd] = await Promise.all([
    Promise.all(kindNames.map((kind) => list(kind, listPathsOf(kind)))),
    Promise.all(Object.entries(linkerdPaths).map(([kind, paths]) => list(kind, paths))),
  ]);
  const place = { line: 0, lineOf: (): number => 0 };
  for (const [i, kind] of kindNames.entries()) {
    const { listed, problem, unread: of } = own[i] ?? {};
    if (problem) {
      problems.push(problem);
      unread.push({ text: `${problem.file}: ${problem.message}`, ...(of ? { kind: of } : {}) });
    }
    if (!listed) continue;
    const apiVersion = apiVersionOfPath(listed.path);
    const apiKind = kinds[kind].address.kind ?? kind;
    for (const item of listed.items) {
      const value: Fields = { ...item, apiVersion, kind: apiKind };
      const picked = pickFields(kind, { ...item, apiVersion });
      const read = picked ? readObject(picked) : undefined;
      if (read?.object) objects.push(read.object);
      const isValid = read?.problem === undefined && read?.object !== undefined;
      sources.push(
        sourceObject(value, {
          ...place,
          errors: read?.problem === undefined ? [] : [read.problem],
          ...(isValid ? { object: read.object } : {}),
        }),
      );
    }
  }
  for (const { kind, listed, problem } of linkerd) {
    if (problem) problems.push(problem);
    const apiVersion = apiVersionOfPath(listed?.path ?? '');
    for (const item of listed?.items ?? [])
      sources.push(sourceObject({ ...item, apiVersion, kind }, { ...place, errors: [] }));
  }
  return { sources, objects, problems, unread };
}
