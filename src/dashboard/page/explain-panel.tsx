/** Asks the server what `weft explain` says about an edge. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { EdgeState } from '../../model/mesh-snapshot.js';
import { explainQueries, explanationOf, type ShownExplanation } from '../view/explanation.js';
import { visibleText } from '../view/text.js';
import { ask } from './live.js';
import { Badge, Name } from './parts.js';

const tones = { allowed: 'good', refused: 'bad', depends: 'warn', unknown: 'neutral' } as const;
const timeoutMs = 30_000;

type State =
  | { readonly kind: 'none' | 'asking' }
  | { readonly kind: 'error'; readonly why: string }
  | { readonly kind: 'done'; readonly explanation: ShownExplanation };

export function ExplainPanel({ edge }: { readonly edge: EdgeState }) {
  const [state, setState] = useState<State>({ kind: 'none' });
  const ending = useRef<AbortController | undefined>(undefined);
  useEffect(() => () => ending.current?.abort(), []);
  const explain = async (): Promise<void> => {
    ending.current?.abort();
    const own = new AbortController();
    ending.current = own;
    setState({ kind: 'asking' });
    let next: State = { kind: 'none' };
    for (const query of explainQueries(edge)) {
      try {
        const response = await ask(
          `/api/explain?${query}`,
          AbortSignal.any([own.signal, AbortSignal.timeout(timeoutMs)]),
        );
        next = { kind: 'done', explanation: explanationOf(await response.text()) };
        break;
      } catch (error) {
        next = { kind: 'error', why: (error as Error).message };
      }
    }
    if (!own.signal.aborted) setState(next);
  };
  return (
    <section class="explain">
      <button type="button" disabled={state.kind === 'asking'} onClick={() => void explain()}>
        {state.kind === 'asking' ? 'Asking…' : 'Explain what happens now'}
      </button>
      <div role="status" aria-live="polite">
        {state.kind === 'error' ? <p class="bad-text">{visibleText(state.why)}</p> : undefined}
        {state.kind === 'done' ? <Explained explanation={state.explanation} /> : undefined}
      </div>
    </section>
  );
}

function Explained({ explanation }: { readonly explanation: ShownExplanation }) {
  return (
    <>
      <p class="tags">
        <Badge tone={tones[explanation.outcome]}>{explanation.outcome}</Badge>
      </p>
      <ul class="rows">
        {explanation.ways.map((way, index) => (
          <li key={index}>
            <div>
              <p>
                {way.count > 1 ? `${way.count} pairs of pods, for example ` : ''}
                <Name text={way.from} /> → <Name text={way.to} />: <strong>{visibleText(way.path)}</strong>
              </p>
              <p>{visibleText(way.why)}</p>
              <p class="muted">{visibleText(way.pathWhy)}</p>
              {way.policy === undefined ? undefined : <p>Decided by policy {visibleText(way.policy)}.</p>}
              {way.code === undefined ? undefined : <p class="muted">{visibleText(way.code)}</p>}
            </div>
          </li>
        ))}
      </ul>
      {explanation.notes.map((note) => (
        <p key={note} class="muted">
          {visibleText(note)}
        </p>
      ))}
    </>
  );
}
