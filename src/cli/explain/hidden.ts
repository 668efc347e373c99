/** What is said to a caller who may not read all that decides: what lies at the end that the caller may read. Pure. */
import { errorText } from '../../base/errors.js';
import { unnamedNamespace, type ExplainedMesh } from '../../model/explained-mesh.js';
import { observeApi } from '../../model/observe-api.js';
import type { AuthorizationPolicy } from '../../model/policy.js';
import type { WaypointRef } from '../../model/workload.js';
import { slashed, waypointNameOf } from '../../state/mesh-part.js';
import { destinationParty, endpointsOf, partyOf, type Question } from './explain.js';
import { readMesh } from './explained-mesh.js';
import { asInCluster, ExplainMesh } from './mesh.js';
import { destinationOf, sourcesOf, withoutWhatThereIs, type Source } from './parties.js';
import { httpOf } from './request.js';
import type { Explanation } from './result.js';

/** What is known of one end. */
type Known = Partial<Pick<Explanation, 'source' | 'destination' | 'endpoints'>> & Pick<Explanation, 'notes'>;

const listMax = 12;
const listed = (all: readonly string[]): string =>
  all.slice(0, listMax).join(', ') + (all.length > listMax ? ` and ${all.length - listMax} more` : '');

const policiesText = (policies: readonly AuthorizationPolicy[]): string => {
  const names = [...new Set(policies.map(({ key, action }) => `${key} (${action.toUpperCase()})`))].sort();
  return names.length === 0
    ? 'no policy applies at the destination'
    : `policies that apply at the destination, and decide by who the client is: ${listed(names)}`;
};

function sourceNotes(sources: readonly Source[], port: number): readonly string[] {
  const outside = sources.filter(({ pod }) => !pod);
  if (outside.length > 0)
    return ['the client is not in the mesh: its connections are not captured, and prove no identity'];
  return sources.some(({ pod }) => pod?.excludeOutboundPorts.includes(port) === true)
    ? [`the settings of the client exclude outbound port ${port} from capture`]
    : ["the client is in the mesh: its node's agent captures its connections, which have its identity"];
}

function knownSource(mesh: ExplainMesh, { source }: Question, port: number): Known {
  const sources = sourcesOf(mesh, source, undefined);
  return { source: partyOf(sources), notes: sourceNotes(sources, port) };
}

const waypointText = (waypoint: WaypointRef): string =>
  waypoint.kind === 'hostname' ? waypointNameOf(waypoint.service) : waypoint.ip;

/** A client of which nothing is known but the namespace that the question states. */
const unknownClient = ({ source = '' }: Question): Source => ({
  name: source,
  identity: undefined,
  namespace: slashed(source)?.[0] ?? '',
  node: '',
  addresses: [],
  workload: undefined,
  pod: undefined,
});

function knownDestination(mesh: ExplainMesh, question: Question): Known {
  const client = unknownClient(question);
  const destination = destinationOf(mesh, question.destination, client);
  const { service, port } = destination;
  const workloads = service ? [...mesh.view.endpointsOf(service.key)] : destination.workloads;
  const policies = [
    ...workloads.flatMap((one) => mesh.view.policiesFor(one)),
    ...(service ? mesh.view.policiesForService(service.key) : []),
  ];
  const waypoints = [service, ...workloads].flatMap((one) =>
    one?.waypoint ? [waypointText(one.waypoint)] : [],
  );
  const endpoints = endpointsOf(mesh, destination, client);
  return {
    destination: {
      ...destinationParty(mesh, destination),
      port,
      ...(service ? { service: service.hostname } : {}),
    },
    endpoints,
    notes: [
      waypoints.length === 0
        ? 'no waypoint serves the destination: the node of its pod decides'
        : `waypoint ${listed([...new Set(waypoints)])} serves the destination, and decides`,
      policiesText(policies),
      ...(endpoints.length > 0
        ? ['which endpoints are eligible may also depend on the node of the client']
        : []),
    ],
  };
}

function known(find: () => Known): Known {
  try {
    return find();
  } catch (error) {
    return { notes: [withoutWhatThereIs(errorText(error).replace(/^WEFT_EXPLAIN_INPUT: /, ''))] };
  }
}

const right = `the right to list explanations.${observeApi.group}`;
const roleText = 'which ClusterRole weft-edges-reader has';

/**
 * The outcome is not known: of a namespace that the caller may not read nothing is told. What lies at the other end is.
 * @param explained with hidden namespaces
 */
export function hiddenExplanation(question: Question, explained: ExplainedMesh): Explanation {
  const { source, identity, destination } = question;
  const { hidden, ends } = explained;
  const [, name = destination, portText = '0'] = /^(.*):(\d{1,5})$/.exec(destination) ?? [];
  const port = Number(portText);
  const request = httpOf(question.request);
  const { snapshot, problems } = readMesh(explained);
  const mesh = new ExplainMesh(asInCluster(snapshot).snapshot);
  const from = ends.includes('source') ? known(() => knownSource(mesh, question, port)) : undefined;
  const to = ends.includes('destination') ? known(() => knownDestination(mesh, question)) : undefined;
  const none = { addresses: [], inMesh: false };
  return {
    outcome: 'unknown',
    source: from?.source ?? {
      name: source ?? identity ?? '',
      ...(identity === undefined ? {} : { identity }),
      ...none,
      inMesh: identity !== undefined,
    },
    destination: to?.destination ?? { name, ...none, port },
    ...(request ? { request: { method: request.method, host: request.host, path: request.path } } : {}),
    ways: [],
    endpoints: to?.endpoints ?? [],
    notes: [
      ...hidden.map((one) =>
        one === unnamedNamespace
          ? `not known, because it is decided in a namespace for which you lack ${right}, ${roleText}`
          : `not known, because it is decided in namespace ${one}, too, for which you lack ${right}, ${roleText}: kubectl create rolebinding weft-explain -n ${one} --clusterrole=weft-edges-reader --user=YOU`,
      ),
      ...(source === undefined
        ? []
        : ['--identity in place of SOURCE needs no right in the namespace of the client']),
      ...(from?.notes ?? []),
      ...(to?.notes ?? []),
      ...problems,
    ],
  };
}
