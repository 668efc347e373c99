/** The lines that a reader of a tap gets: one JSON object each. */
import { errorText } from '../../src/base/errors.js';
import type { TapEvent } from '../../src/model/mesh-snapshot.js';
import type { TapLine } from '../../src/model/tap.js';
import type { LineStream } from '../../src/telemetry/line-stream.js';
import type { OpenTap } from './tap-source.js';

/** A reader gets a line at least this often. */
const aliveMs = 10_000;

const text = (line: TapLine | { readonly end: string } | Readonly<Record<string, never>>): string =>
  `${JSON.stringify(line)}\n`;

async function* linesOf(
  { queue, programs }: OpenTap,
  shown: (events: readonly TapEvent[]) => Promise<readonly TapEvent[]>,
): AsyncGenerator<string> {
  yield text({ programs });
  for (;;) {
    const delivery = await queue.next(aliveMs);
    if (!delivery) return yield text({ end: queue.ended ?? '' });
    const { events, lost, missing } = delivery;
    if (missing) yield text({ missing });
    if (lost > 0) yield text({ lost });
    if (events.length === 0) yield text({});
    let seen: readonly TapEvent[];
    try {
      seen = await shown(events);
    } catch (error) {
      return yield text({ end: `what you may see could not be checked: ${errorText(error)}` });
    }
    for (const event of seen) yield text({ event });
  }
}

/** @param shown what the reader may see of events; default: all */
export const tapStream = (
  reading: OpenTap,
  shown: (events: readonly TapEvent[]) => Promise<readonly TapEvent[]> = (events) => Promise.resolve(events),
): LineStream => ({ lines: linesOf(reading, shown), close: () => reading.close() });
