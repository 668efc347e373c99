/** The edges of an agent's connections: those that it relays, and kernel flows. */
import { policyText, type EdgeParty } from '../model/edge.js';
import type { SpiffeId } from '../model/identity.js';
import { isEndpointOpen, knownName, portOf, type ConnectionRecord, type Party } from './connection-record.js';
import type { EdgeNames, EdgeTable, EdgeTally } from './edge-table.js';
import type { Tally } from './tallies.js';

/** The connection was permitted, and failed. All other codes, also those of later versions, say that the mesh refused it. */
const failures: ReadonlySet<string> = new Set([
  'WEFT_CLIENT_GONE',
  'WEFT_CONNECTIONS_FULL',
  'WEFT_DIAL',
  'WEFT_DIAL_TIMEOUT',
  'WEFT_DRAINING',
  'WEFT_INTERNAL',
  'WEFT_NO_HEALTHY_ENDPOINT',
  'WEFT_NOT_ACCEPTED',
  'WEFT_NOT_READY',
  'WEFT_NO_CERTIFICATE',
  'WEFT_POD_GONE',
  'WEFT_TUNNEL_CONNECT',
  'WEFT_TUNNEL_RESET',
  'WEFT_TUNNEL_TIMEOUT',
  'WEFT_TUNNEL_TLS',
  'WEFT_UPSTREAM_CONNECT',
  'WEFT_UPSTREAM_TLS',
]);

/** Whether a connection with path `refused` was permitted and failed. Pure. */
export function isFailure({ code, why }: Pick<ConnectionRecord, 'code' | 'why'>): boolean {
  // The peer responds 401 if a policy refuses, and others if the application does not accept (src/hbone/endpoint-failure.ts).
  if (code === 'WEFT_TUNNEL_REFUSED') return !why.includes('responded 401 ');
  return code === undefined || failures.has(code);
}

const partyOf = ({ namespace, workload, pod, identity }: Party): EdgeParty => ({
  namespace: knownName(namespace),
  workload: knownName(workload),
  pod: knownName(pod),
  identity: identity === 'unknown' ? undefined : (identity as SpiffeId),
});

/** The edge of a connection. Pure. */
export function edgeOfConnection(record: Omit<ConnectionRecord, 'bytesSent' | 'bytesReceived'>): EdgeNames {
  const { direction, path, destination, audited } = record;
  // The waypoint reports the endpoint that it has chosen.
  const isServices = isEndpointOpen(record);
  return {
    reporter: direction === 'outbound' ? 'source' : 'destination',
    source: partyOf(record.source),
    destination: isServices
      ? { namespace: knownName(destination.namespace), workload: '', pod: '', identity: undefined }
      : partyOf(destination),
    service: record.service ?? '',
    // The endpoint's address is unknown where a Service has none.
    port: (isServices ? 0 : portOf(destination.address)) || portOf(record.dialled ?? ''),
    path,
    method: '',
    pathTemplate: '',
    // Of a connection that passed, the record names the policy that allowed it.
    policy: path === 'refused' ? (record.policy ?? '') : policyText(audited ?? []),
  };
}

/** Bytes from the client to the server, and back. A record's `bytesSent` are those that the pod sent. */
function directed(
  direction: ConnectionRecord['direction'],
  { bytesSent, bytesReceived }: { readonly bytesSent: number; readonly bytesReceived: number },
): [sent: number, received: number] {
  return direction === 'outbound' ? [bytesSent, bytesReceived] : [bytesReceived, bytesSent];
}

/** The names of a kernel flow may change while it is open, so the kernel's table says which are open (daemonset/kernel/flows.ts). */
function withoutOpen(tally: EdgeTally, { path }: ConnectionRecord): void {
  if (path === 'kernel') tally.open = 0;
}

/** Counts a connection that opened or closed, or was refused. */
export function countConnection(edges: EdgeTable, kind: 'opened' | 'closed', record: ConnectionRecord): void {
  const tally = edges.of(edgeOfConnection(record));
  if (kind === 'opened') {
    tally.opened();
    if ((record.audited?.length ?? 0) > 0) tally.audited++;
  } else if (record.path !== 'refused') tally.closed(...directed(record.direction, record));
  else if (isFailure(record)) tally.failures++;
  else tally.refused++;
  withoutOpen(tally, record);
}

/** Adds sums of connections that share all names. */
export function countTally(edges: EdgeTable, record: ConnectionRecord, sums: Tally): void {
  const tally = edges.of(edgeOfConnection(record));
  tally.opened(sums.opened);
  tally.closed(...directed(record.direction, sums), sums.closed);
  // Kernel flows and relayed connections that were permitted, and not accepted.
  tally.failures += sums.refused;
  withoutOpen(tally, record);
}
