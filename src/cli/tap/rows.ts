/** A line of `weft tap`. Pure. */
import type { TapEvent } from '../../model/mesh-snapshot.js';
import type { TapLine } from '../../model/tap.js';
import { destinationOf, nameOf, nameWithPort } from '../../model/party-name.js';
import { printable } from '../printable.js';

const outcomes: Readonly<Record<TapEvent['outcome'], string>> = {
  allowed: 'ok',
  refused: 'REFUSED',
  failed: 'FAILED',
};

const destinationText = ({ destination }: TapEvent): string =>
  nameWithPort(destinationOf({ destination, service: destination.service ?? '' }), destination.port);

const msText = (ms: number): string => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

function whatOf(event: TapEvent): string {
  const { request, durationMs, bytesSent = 0, bytesReceived = 0 } = event;
  if (request)
    return `${request.status || '---'} ${request.method} ${request.path} ${msText(request.durationMs)}`;
  if (durationMs === undefined) return 'connection opened';
  return event.outcome === 'allowed'
    ? `connection ${bytesSent} B sent, ${bytesReceived} B received ${msText(durationMs)}`
    : 'connection';
}

/** Why it was refused or failed, and what would have refused it in audit mode. */
function* reasonsOf({ outcome, policy, code, why, audited = [] }: TapEvent): Generator<string> {
  if (outcome !== 'allowed') {
    if (policy !== undefined) yield `policy=${policy}`;
    if (code !== undefined) yield `code=${code}`;
    if (why !== undefined) yield `why="${why}"`;
  }
  if (audited.length > 0) yield `audited=${audited.join(',')}`;
}

/** `12:00:01.234 ok      shop/web -> shop/api:8080  waypoint  200 GET /orders 1.2 ms  id=…` */
export function eventText(event: TapEvent): string {
  const time = new Date(event.timeMs).toISOString().slice(11, 23);
  const parts = [
    `${time} ${outcomes[event.outcome].padEnd(7)} ${nameOf(event.source)} -> ${destinationText(event)}`,
    event.path,
    whatOf(event),
    ...reasonsOf(event),
    ...(event.reporter === '' ? [] : [`at=${event.reporter}`]),
    ...(event.id === '' ? [] : [`id=${event.id}`]),
  ];
  return printable(parts.join('  '));
}

/** What a line says. The number of programs comes first: nothing else is said until something is seen. */
export function lineText(line: TapLine): string {
  if ('event' in line) return eventText(line.event);
  if ('lost' in line)
    return `lost ${line.lost} lines: the reader, a program or the control plane is too slow`;
  if ('missing' in line)
    return line.missing.length === 0
      ? 'all replicas of the control plane answer'
      : printable(
          `no answer from ${line.missing.join(', ')}: what programs connected to them see is not shown`,
        );
  if (line.programs === 0) return 'no program is connected to the control plane yet';
  return `tapping ${line.programs === 1 ? '1 program' : `${line.programs} programs`}; Ctrl-C ends`;
}
