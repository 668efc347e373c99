/** What `weft status` and `weft check` say of a node's relay. */
import type { CarrierStatus, RelayStatus } from '../model/relay.js';

const count = (of: number, what: string): string => `${of} ${what}${of === 1 ? '' : 's'}`;
const connections = (of: number): string => count(of, 'connection');

function carrierText({ build, pid, flows, leaseMs }: CarrierStatus): string {
  const lease = leaseMs > 0 ? `lease ${(leaseMs / 1000).toFixed(0)} s` : 'no lease';
  return `build ${build}, process ${pid}, ${connections(flows)}, ${lease}`;
}

/** One line. */
export function relayText({ relay, carriers, why }: RelayStatus): string {
  const [used] = carriers.filter(({ isDraining }) => !isDraining);
  const former = carriers.filter(({ isDraining }) => isDraining);
  if (relay === 'typescript')
    return [
      `typescript${why === '' ? '' : ` (${why})`}`,
      ...former.map(({ pid, flows }) => `a former carrier, process ${pid}, keeps ${connections(flows)}`),
    ].join('; ');
  return [
    `carrier${used ? ` (${carrierText(used)})` : ': none in use'}`,
    ...(why === '' ? [] : [why]),
    ...former.map(({ pid, flows }) => `a former one, process ${pid}, keeps ${connections(flows)}`),
  ].join('; ');
}

/** The cell of a table of nodes. */
export function relayCell({ relay, carriers }: RelayStatus): string {
  const used = carriers.find(({ isDraining }) => !isDraining);
  const former = carriers.filter(({ isDraining }) => isDraining);
  const left = former.reduce((sum, { flows }) => sum + flows, 0);
  if (relay === 'typescript')
    return [
      relay,
      ...(former.length > 0 ? [`${count(former.length, 'former carrier')} with ${connections(left)}`] : []),
    ].join(', ');
  return [
    used ? `carrier ${used.build}` : 'carrier: none',
    ...(former.length > 0 ? [`${former.length} former with ${connections(left)}`] : []),
  ].join(', ');
}

/** Why no connection can be relayed; undefined if it can. */
export function relayProblem({ relay, carriers, why }: RelayStatus): string | undefined {
  if (relay === 'typescript' || carriers.some(({ isDraining }) => !isDraining)) return undefined;
  return why === '' ? 'no carrier is in use' : why;
}
