/** What happens to a connection of a source to a destination, by the mesh as it is. */
import { formatSocketAddress } from '../../model/address.js';
import type { Service } from '../../model/service.js';
import { noServerName } from '../../policy/authorize.js';
import { candidatesOf } from '../../state/resolve.js';
import type { ExplainMesh } from './mesh.js';
import { destinationOf, sourcesOf, type Destination, type Source } from './parties.js';
import { httpOf, serverNameOf, type Sent } from './request.js';
import type { EndpointView, Explanation, Outcome, Party, Way } from './result.js';
import { choicesMax, waysOf } from './ways.js';

export interface Question {
  readonly source?: string | undefined;
  readonly identity?: string | undefined;
  readonly destination: string;
  readonly request: Sent;
}

/** Pods of a source, and dialed addresses, that are evaluated one by one. */
const podsMax = 16;

/** Errors: WEFT_EXPLAIN_INPUT. */
export async function explain(mesh: ExplainMesh, question: Question): Promise<Explanation> {
  const sources = sourcesOf(mesh, question.source, question.identity);
  const [first] = sources;
  if (!first) throw new Error('no source');
  const destination = destinationOf(mesh, question.destination, first);
  const all: Way[] = [];
  for (const source of sources.slice(0, podsMax))
    for (const dialed of destination.dialed.slice(0, podsMax))
      all.push(...(await waysOf(mesh, source, dialed, question.request)));
  const request = httpOf(question.request);
  return {
    outcome: outcomeOf(all),
    source: partyOf(sources),
    destination: {
      ...destinationParty(mesh, destination),
      port: destination.port,
      ...(destination.service ? { service: destination.service.hostname } : {}),
    },
    ...(request && all.some(({ waypoint }) => waypoint?.readsRequest === true)
      ? {
          request: {
            method: request.method,
            host: request.host || (destination.service?.hostname ?? ''),
            path: request.path,
          },
        }
      : {}),
    ways: grouped(all),
    endpoints: endpointsOf(mesh, destination, first),
    notes: notesOf(sources, destination, all, question.request, endpointCount(mesh, destination)),
  };
}

const outcomeOf = (ways: readonly Way[]): Outcome => {
  const all = new Set(ways.map(({ outcome }) => outcome));
  const [only = 'unknown'] = all;
  if (all.size <= 1) return only;
  return all.has('allowed') && all.has('refused') ? 'depends' : 'unknown';
};

const rank: Readonly<Record<Outcome, number>> = { refused: 0, unknown: 1, depends: 2, allowed: 3 };

/** Ways that differ only in the pods are one. The one that refuses comes first. */
function grouped(ways: readonly Way[]): readonly (Way & { count: number })[] {
  const found = new Map<string, Way & { count: number }>();
  for (const way of ways) {
    const key = JSON.stringify([way.outcome, way.path, way.why, way.pathWhy, way.code, way.waypoint?.route]);
    const known = found.get(key);
    if (known) known.count++;
    else found.set(key, { ...way, count: 1 });
  }
  return [...found.values()].sort((a, b) => rank[a.outcome] - rank[b.outcome]);
}

export function partyOf(sources: readonly Source[]): Party {
  const [first] = sources;
  const nodes = [...new Set(sources.map(({ node }) => node))].filter((node) => node !== '' && node !== 'any');
  const [name = ''] = [
    sources.length === 1
      ? first?.name
      : `${first?.namespace}/${first?.workload?.workloadName} (${sources.length} pods)`,
  ];
  return {
    name,
    ...(first?.identity === undefined ? {} : { identity: first.identity }),
    ...(nodes.length > 0 ? { node: nodes.join(', ') } : {}),
    addresses: sources.flatMap(({ addresses }) => addresses).slice(0, podsMax),
    inMesh: sources.every(({ pod }) => pod !== undefined),
  };
}

export function destinationParty(
  mesh: ExplainMesh,
  { name, dialed, workloads, service }: Destination,
): Party {
  const there = service ? [...mesh.view.endpointsOf(service.key)] : workloads;
  const identities = [...new Set(there.flatMap(({ uid, identity }) => (mesh.enrolled(uid) ? identity : [])))];
  const nodes = [...new Set(there.map(({ node }) => node))].filter((node) => node !== '' && node !== 'any');
  return {
    name,
    ...(identities.length > 0 ? { identity: identities.join(', ') } : {}),
    ...(nodes.length > 0 ? { node: nodes.join(', ') } : {}),
    addresses: dialed.map(({ ip }) => ip),
    inMesh:
      there.length > 0 &&
      there.every(({ uid, tunnel }) => tunnel === 'hbone' || mesh.enrolled(uid) !== undefined),
  };
}

const endpointsMax = 50;

/** All endpoints of the Service's port, and whether the agent of the source's node may choose each. */
export function endpointsOf(
  mesh: ExplainMesh,
  { service, port, dialed }: Destination,
  source: Source,
): readonly EndpointView[] {
  if (!service) return [];
  const at = dialed[0] ?? mesh.names.endpointsOf(service, port)[0]?.target;
  if (!at) return [];
  const dialedHere = { ip: at.ip, port };
  const eligible = new Set(
    candidatesOf(mesh.view, service, dialedHere, source.node).map(({ target }) =>
      formatSocketAddress(target),
    ),
  );
  const all: Service = {
    ...service,
    loadBalancing: { preference: [], mode: 'unspecified', allowUnhealthy: true },
  };
  return candidatesOf(mesh.view, all, dialedHere, source.node)
    .slice(0, endpointsMax)
    .map(({ workload, target }) => {
      const address = formatSocketAddress(target);
      const isEligible = eligible.has(address);
      return {
        name: `${workload.namespace}/${workload.name}`,
        address,
        node: workload.node,
        healthy: workload.healthy,
        eligible: isEligible,
        why: isEligible
          ? ''
          : !workload.healthy
            ? 'it is not ready'
            : "others are nearer, by the Service's preference",
      };
    });
}

const endpointCount = (mesh: ExplainMesh, { service, port }: Destination): number =>
  service ? mesh.names.endpointsOf(service, port).length : 0;

function notesOf(
  sources: readonly Source[],
  destination: Destination,
  ways: readonly Way[],
  sent: Sent,
  endpoints: number,
): readonly string[] {
  const notes: string[] = [];
  const request = httpOf(sent);
  const serverName = serverNameOf(sent);
  if (sources.length > podsMax) notes.push(`${sources.length} pods: the first ${podsMax} were evaluated`);
  if (sources.some(({ pod, workload }) => pod && !workload))
    notes.push('no pod with this identity is known: it was evaluated as one on another node');
  const isRead = ways.some(({ waypoint }) => waypoint?.readsRequest === true);
  if (request && !request.isStated && isRead)
    notes.push(
      'evaluated as GET /: --method, --path, --host and --header say another request, --tcp a connection without one',
    );
  if (request?.isStated === true && !isRead)
    notes.push('no waypoint reads this request, so its method, path and headers do not matter');
  const isRelayed = ways.some(({ waypoint }) => waypoint?.readsRequest === false);
  if (serverName !== undefined)
    notes.push(
      isRelayed
        ? `evaluated as TLS with the server name ${serverName}`
        : 'no waypoint reads the TLS server name, so it does not matter',
    );
  else if (ways.some(({ why }) => why.includes(noServerName)))
    notes.push('evaluated without a TLS server name: --sni NAME says one');
  const audited = new Set(ways.flatMap((way) => way.audited));
  if (audited.size > 0)
    notes.push(`${[...audited].join(', ')} would refuse it, and is in audit mode or dry run`);
  if (sources.some(({ node, pod }) => pod && node === 'any'))
    notes.push(
      'pods of Deployments in files have no node yet: on one node the connection may take the kernel path',
    );
  if (endpoints > choicesMax)
    notes.push(`${endpoints} endpoints: ${choicesMax} were evaluated, and others may be treated differently`);
  if (destination.dialed.length === 0) notes.push('the destination has no address');
  return notes;
}
