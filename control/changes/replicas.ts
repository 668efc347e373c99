/** The changes of all replicas of the control plane: each knows the nodes and waypoints that it serves. */
import { decodeChange } from '../../src/discovery/codec/change.js';
import { ChangeQuery as ChangeQueryMessage, ChangeResponse } from '../../src/discovery/gen/weft.js';
import { unaryCall, type ControlPlane } from '../../src/discovery/unary-call.js';
import type { ChangeQuery, ChangesAnswer } from '../../src/model/change.js';
import { askReplicas, type Peers } from '../edges/peers.js';
import { mergeAnswers } from './merge.js';

const answerMsMax = 2_000;
/** All changes of a replica with all receivers. A replica whose refusals make it more is named as missing. */
const answerBytesMax = 64 << 20;

const method = {
  path: '/weft.v1.ChangeReports/Query',
  encode: (query: ChangeQueryMessage) => ChangeQueryMessage.encode(query).finish(),
  decode: (bytes: Uint8Array) => ChangeResponse.decode(bytes),
};

export interface ChangeSource {
  /** Never rejects: replicas that cannot be asked are in `missing`. */
  query(query: ChangeQuery): Promise<ChangesAnswer>;
}

export class ReplicatedChanges implements ChangeSource {
  constructor(
    private readonly own: (query: ChangeQuery) => ChangesAnswer,
    private readonly peers: Peers,
  ) {}

  async query(query: ChangeQuery): Promise<ChangesAnswer> {
    const { answers, missing } = await askReplicas(this.peers, (control) => ask(control, query));
    return mergeAnswers([this.own(query), ...answers], missing);
  }
}

async function ask(control: ControlPlane, { namespace = '', sinceMs }: ChangeQuery): Promise<ChangesAnswer> {
  const response = await unaryCall(
    { ...control, deadlineMs: answerMsMax, responseBytesMax: answerBytesMax },
    method,
    { namespace, sinceMs: Math.max(0, Math.floor(sinceMs)) },
  );
  return {
    changes: response.changes.flatMap((change) => decodeChange(change) ?? []),
    sinceMs: response.sinceMs,
    missing: [],
  };
}
