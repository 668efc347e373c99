/** Codec of changes (weft.v1.Change): replicas of the control plane exchange them. A change that cannot be decoded is left out. */
import type { Change, ChangeReceiver } from '../../model/change.js';
import type * as pb from '../gen/weft.js';
import { attempt, need, oneOf } from './decoding.js';

const textCharsMax = 512;
/** As many receivers as a replica lists of all its changes. */
const receiversMax = 100_000;
const operations: readonly Change['operation'][] = ['created', 'updated', 'deleted'];

/** The message of a change. */
export const encodeChange = (change: Change): pb.Change => ({
  objectKind: change.kind,
  namespace: change.namespace,
  name: change.name,
  operationKind: change.operation,
  timeMs: change.timeMs,
  resources: change.resources,
  by: change.by ?? '',
  version: change.version ?? '',
  receivers: change.receivers.map(({ name, acknowledgedMs = 0, refused = '' }) => ({
    name,
    acknowledgedMs,
    refused,
  })),
  omittedAcknowledged: change.omitted?.acknowledged ?? 0,
  omittedWaiting: change.omitted?.waiting ?? 0,
});

function text(value: string, field: string): string {
  if (value.length > textCharsMax) throw new Error(`${field} has more than ${textCharsMax} characters`);
  return value;
}

const readReceiver = ({ name, acknowledgedMs, refused }: pb.ChangeReceiver): ChangeReceiver => ({
  name: need(text(name, 'receiver'), 'receiver'),
  ...(acknowledgedMs === 0 ? {} : { acknowledgedMs }),
  ...(refused === '' ? {} : { refused: text(refused, 'refused') }),
});

/** Throws if the change is not of this version's form. */
function readChange(change: pb.Change): Change {
  const { omittedAcknowledged: acknowledged, omittedWaiting: waiting } = change;
  if (change.receivers.length > receiversMax)
    throw new Error(`there are more than ${receiversMax} receivers`);
  return {
    kind: need(text(change.objectKind, 'kind'), 'kind'),
    namespace: text(change.namespace, 'namespace'),
    name: need(text(change.name, 'name'), 'name'),
    operation: oneOf(operations, change.operationKind, 'operation'),
    timeMs: change.timeMs,
    resources: change.resources,
    ...(change.by === '' ? {} : { by: text(change.by, 'by') }),
    ...(change.version === '' ? {} : { version: text(change.version, 'version') }),
    receivers: change.receivers.map(readReceiver),
    ...(acknowledged + waiting === 0 ? {} : { omitted: { acknowledged, waiting } }),
  };
}

/** Undefined: the change is not of this version's form. Never throws. */
export function decodeChange(change: pb.Change): Change | undefined {
  const decoded = attempt(() => readChange(change));
  return decoded.ok ? decoded.value : undefined;
}
