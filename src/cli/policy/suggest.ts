/** The least AccessPolicies that allow what was observed. Pure. */
import { otherName } from '../../model/edge.js';
import { selects, type Labels } from '../../model/labels.js';
import { workloadIdentityOf, type SpiffeId, type TrustDomain } from '../../model/identity.js';
import type { Workload } from '../../model/workload.js';
import type { SnapshotPod } from '../../state/snapshot.js';
import { identityText, partyText, requestText, type Call } from './calls.js';
import type { PolicyMesh } from './policy-mesh.js';

/** A target of a rule. `methods` and `paths` are empty where no waypoint has read requests. */
export interface SuggestedTarget {
  readonly ports: readonly number[];
  readonly methods: readonly string[];
  readonly paths: readonly string[];
}
export interface SuggestedRule {
  /** Service accounts of the mesh's trust domain, as `namespace/name`. */
  readonly serviceAccounts: readonly string[];
  /** Other identities. */
  readonly identities: readonly SpiffeId[];
  readonly to: readonly SuggestedTarget[];
  readonly calls: readonly Call[];
}
export interface SuggestedPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly selector: Labels;
  readonly rules: readonly SuggestedRule[];
  /** Calls that passed and that no rule can name. The policy is in audit mode because of them. */
  readonly unnamed: readonly { readonly call: Call; readonly why: string }[];
  /** Calls that were refused only. No rule allows them. */
  readonly refused: readonly Call[];
}
export interface Suggestion {
  readonly policies: readonly SuggestedPolicy[];
  /** What has no policy, and why. */
  readonly remarks: readonly string[];
}

/** The path of an AccessPolicy for a template of observed paths; undefined: there is none that matches it. */
export function policyPathOf(template: string): string | undefined {
  if (template === '**') return '*';
  if (!template.startsWith('/') || template.length > 1024) return undefined;
  const segments = template.slice(1).split('/');
  const last = segments.length - 1;
  const isReadable = segments.every(
    (one, i) =>
      one === '*' ||
      (one === '**' && i === last) ||
      // Other forms are compared differently by different endpoints.
      (one === '' ? i === last : /^[A-Za-z0-9._:-]+$/.test(one) && one !== '.' && one !== '..'),
  );
  if (!isReadable) return undefined;
  return `/${segments.map((one) => (one === '*' ? '{*}' : one === '**' ? '{**}' : one)).join('/')}`;
}

const methodForm = /^[0-9A-Z!#$%&'+.^_`|~-]{1,64}$/;

/** Why no rule can name the call; undefined: one can. */
function unnamedBecause({ source, port, method, pathTemplate }: Call, isRead: boolean): string | undefined {
  if (source.isOther) return 'its client is beyond the limits of what is observed';
  if (port === 0) return 'its port is beyond the limits of what is observed';
  if (source.identity === undefined) return 'its client has no identity (plaintext)';
  if (!isRead) return undefined;
  if (!methodForm.test(method))
    return `its method ${method === otherName ? 'is beyond the limits' : 'cannot be compared'}`;
  if (pathTemplate === otherName) return 'its path is beyond the limits of what is observed';
  return policyPathOf(pathTemplate) === undefined ? 'its path cannot be compared by policies' : undefined;
}

const accountForm = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\/[a-z0-9.-]+$/;
function accountOf(identity: SpiffeId, trustDomain: TrustDomain): string | undefined {
  const workload = workloadIdentityOf(identity);
  if (!workload || workload.trustDomain !== trustDomain) return undefined;
  const account = `${workload.namespace}/${workload.serviceAccount}`;
  return accountForm.test(account) ? account : undefined;
}

/** Labels that select these pods of a namespace and no others; undefined: there are none. */
function selectorFor(
  workload: string,
  pods: readonly SnapshotPod[],
  all: readonly SnapshotPod[],
): Labels | undefined {
  const own = new Set(pods);
  const isExact = (selector: Labels): boolean =>
    Object.keys(selector).length > 0 && all.every((one) => selects(selector, one.labels) === own.has(one));
  for (const key of ['app.kubernetes.io/name', 'app']) {
    const selector = { [key]: workload };
    if (isExact(selector)) return selector;
  }
  const [first] = pods;
  const common = Object.fromEntries(
    Object.entries(first?.labels ?? {}).filter(
      ([key, value]) =>
        !key.startsWith('weft.dev/') &&
        !/pod-template-hash|controller-revision-hash/.test(key) &&
        pods.every(({ labels }) => labels[key] === value),
    ),
  );
  return isExact(common) ? common : undefined;
}

/** Lists of a rule have at most this many items (the CRD). */
const itemsMax = 100;
const chunks = <T>(list: readonly T[], size = itemsMax): T[][] =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
const sorted = <T>(values: Iterable<T>): T[] =>
  [...new Set(values)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));

function group<T>(values: readonly T[], keyOf: (value: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const one of values) {
    const key = keyOf(one);
    const list = groups.get(key);
    if (list) list.push(one);
    else groups.set(key, [one]);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, list]) => list);
}

/** Whether a waypoint reads the requests of a call. */
type IsRead = (call: Call) => boolean;

/** The targets of calls of the same clients: ports without requests in one, requests by port and methods. */
function targetsOf(calls: readonly Call[], isRead: IsRead): SuggestedTarget[] {
  const ports = sorted(calls.filter((one) => !isRead(one)).map(({ port }) => port)).sort((a, b) => a - b);
  const byPath = group(calls.filter(isRead), ({ port, pathTemplate }) =>
    JSON.stringify([port, pathTemplate]),
  ).map((list) => ({
    port: list[0]?.port ?? 0,
    path: policyPathOf(list[0]?.pathTemplate ?? '') ?? '',
    methods: sorted(list.map(({ method }) => method)),
  }));
  const byMethods = group(byPath, ({ port, methods }) => JSON.stringify([port, methods]));
  return [
    ...chunks(ports).map((some) => ({ ports: some, methods: [], paths: [] })),
    ...byMethods.flatMap((list) =>
      chunks(sorted(list.map(({ path }) => path))).flatMap((paths) =>
        chunks(list[0]?.methods ?? []).map((methods) => ({ ports: [list[0]?.port ?? 0], methods, paths })),
      ),
    ),
  ];
}

/** Rules for calls that can be named: clients that call the same are in one rule. */
function rulesOf(calls: readonly Call[], trustDomain: TrustDomain, isRead: IsRead): SuggestedRule[] {
  const targetKey = (call: Call): string =>
    JSON.stringify(isRead(call) ? [call.port, call.method, call.pathTemplate] : [call.port]);
  const byTarget = group(calls, targetKey).map((list) => ({
    list,
    clients: JSON.stringify(sorted(list.flatMap(({ source }) => source.identity ?? []))),
  }));
  return group(byTarget, ({ clients }) => clients).flatMap((targets) => {
    const all = targets.flatMap(({ list }) => list);
    const identities = sorted(all.flatMap(({ source }) => source.identity ?? []));
    return chunks(targetsOf(all, isRead)).flatMap((to) =>
      chunks(identities, itemsMax * itemsMax).map((some): SuggestedRule => {
        const accounts = some.map((identity) => accountOf(identity, trustDomain));
        return {
          serviceAccounts: sorted(accounts.flatMap((one) => one ?? [])),
          identities: some.filter((_, i) => accounts[i] === undefined),
          to,
          calls: all,
        };
      }),
    );
  });
}

const nameOf = (workload: string, taken: Set<string>): string => {
  const base = `observed-${workload.toLowerCase().replace(/[^a-z0-9-]+/g, '-')}`
    .slice(0, 200)
    .replace(/-+$/, '');
  let name = base;
  for (let i = 2; taken.has(name); i++) name = `${base}-${i}`;
  taken.add(name);
  return name;
};

interface Placed {
  readonly call: Call;
  /** Of the pods. */
  readonly port: number;
}

/** The calls that reach pods: those that name them, and those of their Services that name no known workload. */
function callsTo(
  calls: readonly Call[],
  workload: string,
  pods: readonly SnapshotPod[],
  mesh: PolicyMesh,
): Placed[] {
  const names = new Set(pods.map((one) => one.name));
  const uids = new Set<string>(pods.map(({ uid }) => uid));
  return calls.flatMap((call): Placed[] => {
    const { destination, services, port } = call;
    if (destination.isOther) return [];
    if (destination.workload === workload || [...destination.pods].some((pod) => names.has(pod)))
      return [{ call, port }];
    const isKnown = [...destination.pods, ''].some(
      (pod) => mesh.workloads(destination.namespace, destination.workload, pod).length > 0,
    );
    if (isKnown) return [];
    const ports = [...services].flatMap((host) => {
      const service = mesh.serviceOf(host, destination.namespace);
      return service ? mesh.endpointsOf(service, port).filter((one) => uids.has(one.workload.uid)) : [];
    });
    return [...new Set(ports.map(({ target }) => target.port))].map((target) => ({ call, port: target }));
  });
}

/** The policies for the pods of one namespace. @param calls of all namespaces, or those to this one */
export function suggest(namespace: string, calls: readonly Call[], mesh: PolicyMesh): Suggestion {
  const { pods, trustDomain } = mesh.snapshot;
  const here = pods.filter((one) => one.namespace === namespace);
  const workloadOf = new Map<string, Workload>(
    (mesh.snapshot.mesh.workloads ?? []).map((one) => [one.uid, one]),
  );
  const remarks: string[] = [];
  const policies: SuggestedPolicy[] = [];
  const taken = new Set<string>();
  const toHere = calls.filter(({ destination }) => destination.namespace === namespace);
  const placed = new Set<Call>();
  const nameOfPod = ({ uid, name }: SnapshotPod): string => workloadOf.get(uid)?.workloadName ?? name;
  for (const list of group(here, nameOfPod)) {
    const [first] = list;
    if (!first) continue;
    const name = nameOfPod(first);
    const own = list.map(({ uid }) => workloadOf.get(uid)).filter((one) => one !== undefined);
    const to = callsTo(toHere, name, list, mesh);
    for (const { call } of to) placed.add(call);
    // A waypoint's own pods accept tunnels, and decide about what is in them.
    if (own.every(({ nativeTunnel }) => nativeTunnel === true)) continue;
    if (own.every(({ tunnel }) => tunnel === 'none')) {
      remarks.push(`${namespace}/${name} is not in the mesh: nothing would enforce a policy`);
      continue;
    }
    const at = to.map(({ call, port }) => (port === call.port ? call : { ...call, port }));
    const passed = at.filter((one) => one.passed > 0);
    const refused = at.filter((one) => one.passed === 0);
    if (passed.length === 0) {
      remarks.push(
        `${namespace}/${name}: nobody was seen to call it${refused.length > 0 ? ' successfully' : ''}: it has not been watched long enough, or nobody needs it; no policy is suggested, so it stays as open as it is`,
      );
      continue;
    }
    const selector = selectorFor(name, list, here);
    if (!selector) {
      remarks.push(
        `${namespace}/${name}: no labels select its pods and no others: no policy is suggested, so it stays as open as it is`,
      );
      continue;
    }
    // Where no waypoint reads requests, a rule about them allows nothing.
    const isRead = ({ isRequest, port }: Call): boolean =>
      isRequest && own.every((one) => mesh.hasWaypoint(one, port));
    const named = passed.map((call) => ({ call, why: unnamedBecause(call, isRead(call)) }));
    policies.push({
      name: nameOf(name, taken),
      namespace,
      selector,
      rules: rulesOf(
        named.flatMap(({ call, why }) => (why === undefined ? [call] : [])),
        trustDomain,
        isRead,
      ),
      unnamed: named.flatMap(({ call, why }) => (why === undefined ? [] : [{ call, why }])),
      refused,
    });
  }
  for (const call of toHere.filter((one) => !placed.has(one)))
    remarks.push(
      `${partyText(call.source)} (${identityText(call.source)}) called ${partyText(call.destination)} port ${call.port} ${requestText(call)} ${call.passed + call.refused} times: ${call.destination.isOther ? 'which workload that was is beyond the limits of what is observed' : 'the manifests have no such workload'}; no policy is suggested for it`.replace(
        / +/g,
        ' ',
      ),
    );
  return { policies, remarks };
}
