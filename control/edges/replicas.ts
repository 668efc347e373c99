/** The edges of all replicas of the control plane: a program reports to any one of them. */
import { decodeEdge, decodeEdgeBySlot } from '../../src/discovery/codec/edge.js';
import { EdgeQuery as EdgeQueryMessage, EdgeResponse } from '../../src/discovery/gen/weft.js';
import { unaryCall, type ControlPlane } from '../../src/discovery/unary-call.js';
import { addCounts, edgeKey, type Edge, type EdgeAnswer, type EdgeQuery } from '../../src/model/edge.js';
import type { EdgeSource } from './edge-source.js';
import { askReplicas, type Peers } from './peers.js';

const answerMsMax = 2_000;
/** All edges of a replica, each with the longest texts. */
const answerBytesMax = 64 << 20;

const method = {
  path: '/weft.v1.EdgeReports/Query',
  encode: (query: EdgeQueryMessage) => EdgeQueryMessage.encode(query).finish(),
  decode: (bytes: Uint8Array) => EdgeResponse.decode(bytes),
};

/** Adds up what replicas have. Pure. */
export function merged(answers: readonly EdgeAnswer[], missing: readonly string[]): EdgeAnswer {
  const edges = new Map<string, Edge>();
  for (const answer of answers)
    for (const edge of answer.edges) {
      const key = edgeKey(edge);
      const same = edges.get(key);
      edges.set(key, same ? { ...edge, counts: addCounts(same.counts, edge.counts) } : edge);
    }
  return {
    edges: [...edges.values()],
    sinceMs: Math.max(...answers.map(({ sinceMs }) => sinceMs)),
    missing,
    // A replica of an older version leaves its slots out: those of the others are not all.
    ...(answers.every(({ isBySlot }) => isBySlot === true) ? { isBySlot: true } : {}),
  };
}

export interface ReplicatedEdgesParts extends Peers {
  readonly own: (query: EdgeQuery) => EdgeAnswer;
}

export class ReplicatedEdges implements EdgeSource {
  constructor(private readonly parts: ReplicatedEdgesParts) {}

  async query(query: EdgeQuery): Promise<EdgeAnswer> {
    const { answers, missing } = await askReplicas(this.parts, (control) => ask(control, query));
    return merged([this.parts.own(query), ...answers], missing);
  }
}

async function ask(
  control: ControlPlane,
  { namespace = '', sinceMs, isBySlot = false }: EdgeQuery,
): Promise<EdgeAnswer> {
  const response = await unaryCall(
    { ...control, deadlineMs: answerMsMax, responseBytesMax: answerBytesMax },
    method,
    {
      namespace,
      sinceMs: Math.max(0, Math.floor(sinceMs)),
      bySlot: isBySlot,
    },
  );
  return {
    edges: response.edges.flatMap((edge) => (response.bySlot ? decodeEdgeBySlot : decodeEdge)(edge) ?? []),
    sinceMs: response.sinceMs,
    missing: [],
    ...(response.bySlot ? { isBySlot: true } : {}),
  };
}
