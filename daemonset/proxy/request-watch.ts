/** Counts the requests of one connection that a worker relays. */
import type { RelayWatch } from '../../src/hbone/relay.js';
import type { Opening } from '../../src/telemetry/connection-record.js';
import { HttpWatch } from '../../src/telemetry/http-watch.js';
import type { LocalPod } from '../worker-ipc.js';
import type { ProxyContext } from './context.js';
import { observedSides, recordsOfSides } from './observed-requests.js';

export interface WatchedConnection {
  readonly opening: Opening;
  /** The pod that the relay serves. */
  readonly local: LocalPod;
  /** Who sends the requests: the side that is the relay's pod, or its peer. */
  readonly client: 'pod' | 'peer';
  /** The destination's pod, if this node delivers to it at once. */
  readonly destination?: LocalPod | undefined;
}

/** Undefined: no namespace of the connection's has opted in, so that nobody looks at its bytes. */
export function watchOf(
  context: Pick<ProxyContext, 'localPod' | 'observed' | 'limitReached'>,
  { opening, local, client, destination }: WatchedConnection,
): RelayWatch | undefined {
  const all = recordsOfSides(opening, observedSides(opening, local, destination));
  if (all.length === 0) return undefined;
  const now = (was: LocalPod | undefined): LocalPod | undefined => was && context.localPod(was.pod.uid);
  return new HttpWatch({
    client,
    onRequest: (request) => {
      // A namespace may have opted out since.
      const sides = observedSides(opening, now(local), now(destination));
      for (const record of all) if (sides.includes(record.direction)) context.observed(record, request);
    },
    onLimit: () => context.limitReached('observed-connections'),
  });
}
