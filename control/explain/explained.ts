/** The part of the compiled mesh that concerns two ends, encoded. */
import type { ExplainedMesh, EncodedMeshResource, MeshEnd } from '../../src/model/explained-mesh.js';
import { explainLimits, unnamedNamespace } from '../../src/model/explained-mesh.js';
import { servicePolicyName } from '../../src/model/service-policy.js';
import { namespacesOf, partOf, statedNamespace, type Ends } from '../../src/state/mesh-part.js';
import type { MeshSnapshot } from '../../src/state/snapshot.js';
import { encodeService, encodeWorkload } from '../../src/discovery/codec/address.js';
import { encodeNodePod } from '../../src/discovery/codec/node-pod.js';
import { encodeAuthorization } from '../../src/discovery/codec/policy.js';
import { encodeRoute } from '../../src/discovery/codec/route.js';
import { encodeServicePolicy } from '../../src/discovery/codec/service-policy.js';
import { typeUrls } from '../../src/discovery/types.js';

/** What concerns the ends is more than a response may have. */
export class TooMuch extends Error {}

/**
 * Without the values of headers that filters set or send (HeaderPair), which may be secret and decide nothing. What requests are compared with has
 * another form, and stays.
 */
function withoutHeaderValues<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withoutHeaderValues) as T;
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  const fields = Object.entries(value);
  const isPair =
    fields.length === 2 && 'name' in value && 'value' in value && typeof value.value === 'string';
  if (isPair) return { ...value, value: '' };
  return Object.fromEntries(fields.map(([name, one]) => [name, withoutHeaderValues(one as unknown)])) as T;
}

/** Each resource once, also if several parts have it. Error: TooMuch. */
function encodedOf(parts: readonly MeshSnapshot[]): EncodedMeshResource[] {
  const found = new Map<string, EncodedMeshResource>();
  let bytes = 0;
  const add: AddResource = (typeUrl, name, receiver, encoded) => {
    const key = JSON.stringify([typeUrl, name, receiver]);
    if (found.has(key)) return;
    bytes += encoded.length;
    if (found.size >= explainLimits.resources || bytes > explainLimits.bytes)
      throw new TooMuch('too many resources concern these two');
    found.set(key, { typeUrl, name, receiver, value: Buffer.from(encoded).toString('base64') });
  };
  for (const part of parts) addResources(part, add);
  return [...found.values()];
}

type AddResource = (typeUrl: string, name: string, receiver: string, encoded: Uint8Array) => void;

function addResources({ mesh, nodePods, routes, servicePolicies }: MeshSnapshot, add: AddResource): void {
  const { workloads = [], services = [], policies = [] } = mesh;
  for (const one of workloads) add(typeUrls.address, one.uid, '', encodeWorkload(one));
  for (const one of services) add(typeUrls.address, one.key, '', encodeService(one));
  for (const one of policies) add(typeUrls.authorization, one.key, '', encodeAuthorization(one));
  for (const { node, pod } of nodePods) add(typeUrls.nodePod, pod.uid, node, encodeNodePod(pod));
  for (const one of routes) add(typeUrls.route, one.key, '', encodeRoute(withoutHeaderValues(one)));
  for (const { waypoint, policy } of servicePolicies)
    add(
      typeUrls.servicePolicy,
      servicePolicyName(policy),
      waypoint,
      encodeServicePolicy(withoutHeaderValues(policy)),
    );
}

/** One end of a question, as if the other were nothing of the mesh. */
const aloneOf = ({ source, destination }: Ends, end: MeshEnd): Ends =>
  end === 'source' ? { source, destination: '' } : { identity: '', areClientsUnknown: true, destination };

/** What a response has of these parts. Error: TooMuch. */
function responseOf(
  parts: readonly MeshSnapshot[],
): Pick<ExplainedMesh, 'resources' | 'withoutAddress' | 'waypoints'> {
  return {
    resources: encodedOf(parts),
    withoutAddress: [...new Set(parts.flatMap(({ withoutAddress }) => withoutAddress))],
    waypoints: [...new Set(parts.flatMap(({ waypoints }) => waypoints))],
  };
}

/** The ends of a question; undefined: they are not stated, or too long. */
export function endsOf(search: URLSearchParams): Ends | undefined {
  const text = (name: string): string | undefined => search.get(name) ?? undefined;
  const [source, identity, destination] = ['source', 'identity', 'destination'].map(text);
  const isFit = [source, identity, destination].every(
    (one) => one === undefined || (one !== '' && one.length <= explainLimits.nameChars),
  );
  if (!isFit || destination === undefined || (source === undefined) === (identity === undefined))
    return undefined;
  return { source, identity, destination };
}

export interface ExplainSourceOptions {
  readonly whole: () => MeshSnapshot;
  readonly rootNamespace: string;
}

/** What of these namespaces the caller may read. */
export type Readable = (namespaces: readonly string[]) => Promise<ReadonlySet<string>>;

/**
 * Who may not read a namespace does not learn which one has an address. Only the end's own statement counts: else a caller would find out by names
 * that the other end, or another part of the question, states.
 */
const namedBy = (end: string, hidden: readonly string[]): readonly string[] =>
  hidden.map((one) => (one === statedNamespace(end) ? one : unnamedNamespace));

export class ExplainSource {
  constructor(private readonly options: ExplainSourceOptions) {}

  /**
   * What concerns the ends, if the caller may read all of it. Else what concerns each end alone of which the caller may read all: it does not
   * depend on the other end. The namespaces of the ends come first: of what is behind an end that the caller may not read nothing is told.
   * Error: TooMuch.
   */
  async query(ends: Ends, readable: Readable): Promise<ExplainedMesh> {
    const { rootNamespace } = this.options;
    const whole = this.options.whole();
    const hiddenOf = async (namespaces: readonly string[]): Promise<readonly string[]> => {
      if (namespaces.length === 0) return [];
      const known = await readable(namespaces);
      return namespaces.filter((one) => !known.has(one));
    };
    let part = partOf(whole, ends);
    const { identity } = ends;
    // A client that is named by its identity is one that the caller states: nothing of its pods is needed.
    if (identity !== undefined && (await hiddenOf(part.sources)).length > 0)
      part = partOf(whole, { ...ends, areClientsUnknown: true });
    const sources = identity === undefined ? part.sources : [];
    const hiddenEnds = new Set(await hiddenOf([...new Set([...sources, ...part.destinations])]));
    const isHidden = (one: string): boolean => hiddenEnds.has(one);
    const ofEnds = [
      ...namedBy(ends.source ?? '', sources.filter(isHidden)),
      ...namedBy(ends.destination, part.destinations.filter(isHidden)),
    ];
    // Not before: who may not read an end does not learn how long a chain is there.
    if (ofEnds.length === 0 && !part.isWhole)
      throw new TooMuch('what concerns these two refers to further objects in too long a chain');
    const hidden = new Set(
      ofEnds.length > 0
        ? ofEnds
        : (await hiddenOf(namespacesOf(part.snapshot, rootNamespace))).map(() => unnamedNamespace),
    );
    const { trustDomain } = whole;
    if (hidden.size === 0)
      return { ...responseOf([part.snapshot]), trustDomain, rootNamespace, hidden: [], ends: [] };
    const isReadable: Readonly<Record<MeshEnd, boolean>> = {
      source: identity === undefined && !sources.some(isHidden),
      destination: !part.destinations.some(isHidden),
    };
    const known: MeshSnapshot[] = [];
    const readableEnds: MeshEnd[] = [];
    for (const end of ['source', 'destination'] as const) {
      const { snapshot, isWhole } = partOf(whole, aloneOf(ends, end));
      if (!isReadable[end] || !isWhole) continue;
      if ((await hiddenOf(namespacesOf(snapshot, rootNamespace))).length > 0) continue;
      known.push(snapshot);
      readableEnds.push(end);
    }
    return {
      ...responseOf(known),
      trustDomain,
      rootNamespace,
      hidden: [...hidden],
      ends: readableEnds,
    };
  }
}
