/** What `weft edges` shows. Pure. */
import type { EdgeState } from '../../model/mesh-snapshot.js';
import { table } from '../cluster/table.js';
import { ageText, countText, latencyText, shareText, unknown } from './cells.js';

const securities: Readonly<Record<EdgeState['security'], string>> = {
  'mutual-tls': 'mutual TLS',
  'same-node': 'same node',
  none: 'none',
  unknown,
};

const heads = [
  'SOURCE',
  'DESTINATION',
  'PORT',
  'PATH',
  'SECURITY',
  'CONNECTIONS',
  'REQUESTS',
  'REFUSED',
  'FAILED',
];
/** Only if there are requests. */
const requestHeads = ['SUCCESS', 'P50', 'P99'];

const requestCells = ({ successShare, latencyMs }: EdgeState): string[] => [
  shareText(successShare),
  latencyText(latencyMs, 'p50'),
  latencyText(latencyMs, 'p99'),
];

/** The table of edges with its head. */
export function edgeLines(states: readonly EdgeState[], nowMs: number): string[] {
  const hasRequests = states.some(({ requests }) => requests > 0);
  return table([
    [...heads, ...(hasRequests ? requestHeads : []), 'LAST SEEN'],
    ...states.map((state) => [
      state.source,
      state.destination,
      state.port === 0 ? unknown : String(state.port),
      state.path,
      securities[state.security],
      ...[state.connections, state.requests, state.refused, state.failures].map(countText),
      ...(hasRequests ? requestCells(state) : []),
      // Metrics of Prometheus do not say it.
      state.lastSeenMs === 0 ? unknown : ageText(nowMs - state.lastSeenMs),
    ]),
  ]);
}
