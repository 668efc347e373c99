/** The response of `/api/tap`: what `weft tap` shows, as server-sent events. */
import { tapQueryOf, type TapLine } from '../../model/tap.js';
import { tapEvents } from '../tap/tap-events.js';
import { errorResponse, type ApiResponse, type ServerSentEvent } from './server.js';
import type { DashboardFlags } from './sources.js';

/** An event of the tap has no name, so that it is a message. */
function eventOf(line: TapLine): ServerSentEvent {
  if ('event' in line) return { data: JSON.stringify(line.event) };
  if ('lost' in line) return { event: 'lost', data: JSON.stringify({ count: line.lost }) };
  if ('missing' in line) return { event: 'missing', data: JSON.stringify(line.missing) };
  return { event: 'open', data: JSON.stringify({ programs: line.programs }) };
}

async function* eventsOf(lines: AsyncIterable<TapLine>): AsyncGenerator<ServerSentEvent> {
  for await (const line of lines) yield eventOf(line);
}

/** The parameters are those of the control plane's tap; the namespace is that of the command if none is given. */
export function tapOf(
  flags: DashboardFlags,
  query: URLSearchParams,
  signal: AbortSignal,
): AsyncIterator<ServerSentEvent> | ApiResponse {
  const given = query.get('namespace') ?? '';
  const asked = tapQueryOf(query, given === '' ? flags.namespace : given);
  return 'problem' in asked
    ? errorResponse(400, asked.problem)
    : eventsOf(tapEvents(flags, asked.query, signal));
}
