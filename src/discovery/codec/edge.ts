/**
 * Codec of edges (weft.v1.Edge): programs report them, replicas of the control plane exchange them. An edge that cannot be decoded is left
 * out; the others count.
 */
import {
  edgePaths,
  edgeSlotMs,
  edgesKeptMs,
  latencyBoundsMs,
  type Edge,
  type EdgeCounts,
  type EdgeParty,
} from '../../model/edge.js';
import { edgeReporters } from '../../model/edge-reporter.js';
import { parseSpiffeId } from '../../model/identity.js';
import type * as pb from '../gen/weft.js';
import { attempt, oneOf } from './decoding.js';

export const edgeLimits = {
  edgesPerReport: 1_024,
  textChars: 512,
  /** The current one is one more. */
  slots: edgesKeptMs / edgeSlotMs + 1,
} as const;

const encodeParty = (party: EdgeParty): pb.EdgeParty => ({ ...party, identity: party.identity ?? '' });

/** The names of many policies that did not allow a request may be longer than a text may be. The last ones are left out, not the edge. */
const policyText = (policy: string): string => {
  if (policy.length <= edgeLimits.textChars) return policy;
  const end = policy.lastIndexOf(',', edgeLimits.textChars);
  return policy.slice(0, end > 0 ? end : edgeLimits.textChars);
};

/** The message of an edge. */
export const encodeEdge = ({ reporter, source, destination, path, counts, ...rest }: Edge): pb.Edge => ({
  ...rest,
  counts: { ...counts, slots: counts.slots ?? [] },
  policy: policyText(rest.policy),
  reporterKind: reporter,
  source: encodeParty(source),
  destination: encodeParty(destination),
  pathKind: path,
});

function text(value: string, field: string): string {
  if (value.length > edgeLimits.textChars)
    throw new Error(`${field} has more than ${edgeLimits.textChars} characters`);
  // Names are printed by commands.
  if (/[\x00-\x1f\x7f-\x9f]/.test(value)) throw new Error(`${field} has a control character`);
  return value;
}

function decodeParty(party: pb.EdgeParty | undefined, field: string): EdgeParty {
  if (!party) throw new Error(`${field} is missing`);
  const { namespace, workload, pod, identity } = party;
  return {
    namespace: text(namespace, `${field}.namespace`),
    workload: text(workload, `${field}.workload`),
    pod: text(pod, `${field}.pod`),
    identity: identity === '' ? undefined : parseSpiffeId(text(identity, `${field}.identity`)),
  };
}

const decodeCounts = ({ slots, ...counts }: pb.EdgeCounts, isBySlot: boolean): EdgeCounts => {
  if (counts.latencyCounts.length > latencyBoundsMs.length + 1)
    throw new Error('there are more latencies than bounds');
  if (!isBySlot) return counts;
  if (slots.length > edgeLimits.slots) throw new Error('there are more slots than are kept');
  if (slots.some(({ atMs }) => atMs % edgeSlotMs !== 0))
    throw new Error('a slot does not begin where slots do');
  return { ...counts, slots };
};

/** Throws if the edge is not of this version's form. */
function readEdge(edge: pb.Edge, isBySlot: boolean): Edge {
  const { reporterKind, pathKind, source, destination, port, counts } = edge;
  if (port > 65_535) throw new Error(`port ${port} is out of range`);
  if (!counts) throw new Error('counts are missing');
  return {
    reporter: oneOf(edgeReporters, reporterKind, 'reporter'),
    source: decodeParty(source, 'source'),
    destination: decodeParty(destination, 'destination'),
    service: text(edge.service, 'service'),
    port,
    path: oneOf(edgePaths, pathKind, 'path'),
    method: text(edge.method, 'method'),
    pathTemplate: text(edge.pathTemplate, 'path template'),
    policy: text(edge.policy, 'policy'),
    counts: decodeCounts(counts, isBySlot),
  };
}

function decode(edge: pb.Edge, isBySlot: boolean): Edge | undefined {
  const decoded = attempt(() => readEdge(edge, isBySlot));
  return decoded.ok ? decoded.value : undefined;
}

/** Undefined: the edge is not of this version's form. Never throws. Slots are left out: a report has none. */
export const decodeEdge = (edge: pb.Edge): Edge | undefined => decode(edge, false);

/** The same of a replica that was asked for slots. */
export const decodeEdgeBySlot = (edge: pb.Edge): Edge | undefined => decode(edge, true);
