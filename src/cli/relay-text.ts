/** What `weft status` and `weft check` say of a node's relay. */
import type { CarrierStatus, RelayStatus } from '../model/relay.js';

function carrierText({ build, pid, flows, leaseMs }: CarrierStatus): string {
  const lease = leaseMs > 0 ? `lease ${(leaseMs / 1000).toFixed(0)} s` : 'no lease';
  return `build ${build}, process ${pid}, ${flows} ${flows === 1 ? 'connection' : 'connections'}, ${lease}`;
}

/** One line. */
export function relayText({ relay, carriers, why }: RelayStatus): string {
  if (relay === 'typescript') return `typescript${why === '' ? '' : ` (${why})`}`;
  const [used] = carriers.filter(({ isDraining }) => !isDraining);
  const former = carriers.filter(({ isDraining }) => isDraining);
  return [
    `carrier${used ? ` (${carrierText(used)})` : ': none in use'}`,
    ...(why === '' ? [] : [why]),
    ...former.map(({ pid, flows }) => `a former one, process ${pid}, keeps ${flows} connections`),
  ].join('; ');
}

/** Why no connection can be relayed; undefined if it can. */
export function relayProblem({ relay, carriers, why }: RelayStatus): string | undefined {
  if (relay === 'typescript' || carriers.some(({ isDraining }) => !isDraining)) return undefined;
  return why === '' ? 'no carrier is in use' : why;
}
