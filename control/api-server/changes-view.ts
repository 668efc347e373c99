/** Changes as a reader of one namespace sees them. Pure. */
import type { Change, ChangeReceiver } from '../../src/model/change.js';

/** In place of the name of a waypoint elsewhere. */
const elsewhere = 'waypoint of another namespace';
/** A refusal may name any resource of the response that had the change. */
const refusedText = 'a resource of the response was not accepted: the log of the receiver says which';

/**
 * A change of an object of the namespace. Nodes that acknowledged it are named, and waypoints of the namespace; what else received it is counted
 * only, because its name would tell of another namespace.
 */
export function changeForReader(change: Change, namespace: string): Change {
  // The name of a node has neither of these characters.
  const isNamed = (name: string): boolean => !/[/:]/.test(name) || name.startsWith(`waypoint:${namespace}/`);
  const receiver = ({ name, refused, ...rest }: ChangeReceiver): ChangeReceiver => ({
    ...rest,
    name: isNamed(name) ? name : elsewhere,
    ...(refused === undefined ? {} : { refused: refusedText }),
  });
  return { ...change, receivers: change.receivers.map(receiver) };
}
