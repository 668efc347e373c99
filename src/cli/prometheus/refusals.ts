/** What the mesh refused, and would have refused in audit mode, from metrics that name identities and policies, and no workloads. Pure. */
import { noCounts, type Edge, type EdgeCounts, type EdgeParty } from '../../model/edge.js';
import { workloadIdentityOf } from '../../model/identity.js';
import { isFailure } from '../../telemetry/connection-edges.js';
import { nameOf } from '../../model/party-name.js';
import type { Sample } from './decode.js';
import { identityOf } from './edges.js';
import { quoted } from './queries.js';

/** The side of the server reports it, too, with the policy. */
const reportedByServer = 'WEFT_TUNNEL_REFUSED';

/** A text in a regular expression of PromQL. */
const literal = (text: string): string => text.replaceAll(/[^A-Za-z0-9_-]/g, (one) => `\\${one}`);

const increases = (metric: string, labels: string, selectors: readonly string[], seconds: number): string =>
  `sum by (${labels}) (${selectors.map((one) => `increase(${metric}{${one}}[${seconds}s])`).join(' or ')})`;

/** Connections that agents refused. A waypoint's refusals have no destination, and its requests are counted by the metrics of requests. */
export function refusedQuery(seconds: number, namespace: string | undefined): string {
  const ofAgents = `destination_principal!="",code!="${reportedByServer}"`;
  const identity = namespace === undefined ? '' : quoted(`spiffe://[^/]+/ns/${literal(namespace)}/sa/.*`);
  const selectors =
    namespace === undefined
      ? [ofAgents]
      : ['source', 'destination'].map((side) => `${ofAgents},${side}_principal=~${identity}`);
  return increases(
    'weft_refused_total',
    'code, policy, source_principal, destination_principal',
    selectors,
    seconds,
  );
}

/** What policies refused (`refused`) or would have refused in audit mode (`audited`), of one namespace if it is given. */
export function policyQuery(
  what: 'refused' | 'audited',
  seconds: number,
  namespace: string | undefined,
): string {
  const selector =
    namespace === undefined ? 'policy!=""' : `policy=~${quoted(`(.* )?${literal(namespace)}/.*`)}`;
  return increases(`weft_${what}_total`, 'policy', [selector], seconds);
}

function partyOf(principal: string | undefined): EdgeParty {
  const identity = identityOf(principal);
  const namespace = identity === undefined ? '' : (workloadIdentityOf(identity)?.namespace ?? '');
  return { namespace, workload: '', pod: '', identity };
}

/** The party with the workload's name, if edges know one workload of its identity. */
function namesIn(edges: readonly Edge[]): (party: EdgeParty) => EdgeParty {
  const found = new Map<string, EdgeParty | undefined>();
  for (const { source, destination } of edges)
    for (const party of [source, destination]) {
      const { identity, workload } = party;
      if (identity === undefined || workload === '') continue;
      const same = found.get(identity);
      found.set(
        identity,
        !found.has(identity) || (same && nameOf(same) === nameOf(party)) ? party : undefined,
      );
    }
  return (party) => (party.identity === undefined ? party : (found.get(party.identity) ?? party));
}

const unnamed = { service: '', port: 0, method: '', pathTemplate: '' };
const nobody: EdgeParty = { namespace: '', workload: '', pod: '', identity: undefined };

/** Edges of refused and failed connections. `edges`: of the same range. */
export function refusedEdges(samples: readonly Sample[], edges: readonly Edge[]): Edge[] {
  const named = namesIn(edges);
  return samples.flatMap(({ labels, value }): Edge[] => {
    const count = Math.round(value);
    const { code, policy = '', source_principal: source, destination_principal: destination } = labels;
    if (count === 0 || code === undefined) return [];
    const counts: Partial<EdgeCounts> = isFailure({ code, why: '' })
      ? { failures: count }
      : { refused: count };
    const ends = { source: named(partyOf(source)), destination: named(partyOf(destination)) };
    return [
      {
        ...unnamed,
        ...ends,
        reporter: 'source',
        path: 'refused',
        policy,
        counts: { ...noCounts, ...counts },
      },
    ];
  });
}

/** Edges that stand for what policies did: only their policies have a meaning. */
export const policyEdges = (what: 'refused' | 'audited', samples: readonly Sample[]): Edge[] =>
  samples.flatMap(({ labels: { policy = '' }, value }): Edge[] => {
    const counts: EdgeCounts = { ...noCounts, [what]: Math.round(value) };
    const ends = { source: nobody, destination: nobody };
    return counts[what] === 0
      ? []
      : [{ ...unnamed, ...ends, reporter: 'waypoint', path: 'waypoint', policy, counts }];
  });
