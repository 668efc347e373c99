/** Requests and connections as they happen. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { MeshSnapshot, TapEvent } from '../../model/mesh-snapshot.js';
import { serverEvents } from '../session.js';
import { namespacesOf } from '../view/edges.js';
import { clockText, countOf, countText, latencyText } from '../view/format.js';
import type { Route } from '../view/route.js';
import {
  addEvents,
  emptyTap,
  lostCount,
  matchesText,
  missingOf,
  reasonText,
  tapEnds,
  tapEventOf,
  whatText,
} from '../view/tap-list.js';
import { visibleText } from '../view/text.js';
import { FilterBar } from './filter-bar.js';
import { ask } from './live.js';
import { Badge, Empty, Name, PathText } from './parts.js';

/** Lines that came in between are drawn together: a browser cannot draw thousands of times a second. */
const drawMs = 250;
const againMs = 3_000;
/** More than that in between are as good as lost: nobody reads them. */
const waitingMax = 1_000;

const tones = { allowed: 'good', refused: 'bad', failed: 'warn' } as const;

type Connection = { readonly kind: 'opening' | 'open' } | { readonly kind: 'closed'; readonly why: string };

/** Not every browser iterates over streams. */
async function* partsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** Reads until the signal ends it, again and again. */
function useTap(namespace: string, isPaused: boolean) {
  const [tap, setTap] = useState(emptyTap);
  const [missing, setMissing] = useState<readonly string[]>([]);
  const [connection, setConnection] = useState<Connection>({ kind: 'opening' });
  const paused = useRef(isPaused);
  paused.current = isPaused;
  useEffect(() => {
    const ending = new AbortController();
    let waiting: TapEvent[] = [];
    let lost = 0;
    let timer = 0;
    const draw = (): void => {
      const [events, missed] = [waiting, lost];
      [waiting, lost] = [[], 0];
      setTap((last) => addEvents(last, events, missed, paused.current));
    };
    const drawing = window.setInterval(draw, drawMs);
    const read = async (): Promise<void> => {
      setConnection({ kind: 'opening' });
      try {
        const query = namespace === '' ? '' : `?${new URLSearchParams({ namespace }).toString()}`;
        const { body } = await ask(`/api/tap${query}`, ending.signal);
        if (!body) throw new Error('the server sent nothing');
        setConnection({ kind: 'open' });
        for await (const { event, data } of serverEvents(partsOf(body))) {
          if (event === 'lost') lost += lostCount(data);
          else if (event === 'missing') setMissing(missingOf(data));
          else if (event === 'failed') throw new Error(failureText(data));
          else if (event === 'message') {
            const one = tapEventOf(data);
            if (one && waiting.length < waitingMax) waiting.push(one);
            else lost++;
          }
        }
        throw new Error('the tap has ended');
      } catch (error) {
        if (ending.signal.aborted) return;
        setConnection({ kind: 'closed', why: (error as Error).message });
        timer = window.setTimeout(() => void read(), againMs);
      }
    };
    setTap(emptyTap);
    setMissing([]);
    void read();
    return () => {
      ending.abort();
      clearTimeout(timer);
      clearInterval(drawing);
    };
  }, [namespace]);
  return { tap, connection, missing, clear: () => setTap(emptyTap) };
}

function failureText(data: string): string {
  try {
    const { error } = JSON.parse(data) as { readonly error?: unknown };
    if (typeof error === 'string') return error;
  } catch {
    // It has no reason.
  }
  return 'the tap has failed';
}

export function TapView({
  route,
  snapshot,
}: {
  readonly route: Route;
  readonly snapshot: MeshSnapshot | undefined;
}) {
  const [isPaused, setPaused] = useState(false);
  const { tap, connection, missing, clear } = useTap(route.namespace, isPaused);
  const lines = tap.lines.filter((line) => matchesText(line, route.text));
  return (
    <>
      <div class="tap-bar">
        <FilterBar route={route} namespaces={snapshot ? namespacesOf(snapshot) : []} />
        <button type="button" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)}>
          Pause the tap
        </button>
        <button type="button" onClick={clear}>
          Clear
        </button>
      </div>
      <p role="status" aria-live="polite" class="tap-state">
        {connection.kind === 'closed'
          ? `Not connected: ${visibleText(connection.why)}. It is tried again.`
          : connection.kind === 'opening'
            ? 'Connecting…'
            : isPaused
              ? 'Paused.'
              : 'Connected.'}{' '}
        {tap.lost > 0 ? (
          <Badge tone="warn">{countOf(tap.lost, 'event')} lost: there are more than can be shown</Badge>
        ) : undefined}
      </p>
      {missing.length === 0 ? undefined : (
        <p class="notice warn" role="note">
          Not everything is shown: {missing.map(visibleText).join(', ')}
        </p>
      )}
      <p class="muted">
        {countOf(tap.count, 'event')}
        {tap.passed > 0 ? `, ${countText(tap.passed)} passed while paused` : ''}
        {lines.length < tap.count ? `; the last ${countText(lines.length)} that match are shown` : ''}
      </p>
      {lines.length === 0 ? (
        <Empty>
          {tap.lines.length > 0
            ? 'The filter leaves no event.'
            : connection.kind !== 'open'
              ? 'No events while it is not connected.'
              : missing.length > 0
                ? 'Nothing has passed yet where it can be seen.'
                : 'Nothing has passed yet.'}
        </Empty>
      ) : (
        <div class="table-box" role="region" aria-label="Events" tabIndex={0}>
          <table class="tap">
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">Outcome</th>
                <th scope="col">From</th>
                <th scope="col">To</th>
                <th scope="col">What</th>
                <th scope="col">Path</th>
                <th scope="col" class="number">
                  Took
                </th>
                <th scope="col">Why</th>
              </tr>
            </thead>
            <tbody>
              {lines.map((line) => (
                <TapRow key={line.key} event={line} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function TapRow({ event }: { readonly event: TapEvent }) {
  const { from, to } = tapEnds(event);
  const reason = reasonText(event);
  return (
    <tr data-tap-id={event.id}>
      <td>{clockText(event.timeMs)}</td>
      <td>
        <Badge tone={tones[event.outcome] ?? 'neutral'}>{event.outcome}</Badge>
      </td>
      <td>
        <Name text={from} />
      </td>
      <td>
        <Name text={to} />
      </td>
      <td>
        <span class={event.request ? undefined : 'muted'}>
          <Name text={whatText(event)} />
        </span>
      </td>
      <td>
        <PathText path={event.path} />
      </td>
      <td class="number">{latencyText(event.request?.durationMs)}</td>
      <td>{reason === '' ? '' : <Name text={reason} />}</td>
    </tr>
  );
}
