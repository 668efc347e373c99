/** The snapshot of the page: in the page itself, or from the server, again and again. */
import { useCallback, useEffect, useState } from 'preact/hooks';
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { sessionHeaders, takeToken } from '../session.js';
import { parseSnapshot } from '../view/snapshot.js';

const refreshMs = 5_000;
const timeoutMs = 20_000;

export interface Live {
  readonly snapshot: MeshSnapshot | undefined;
  /** Why the snapshot is not the newest; undefined: it is. */
  readonly problem: string | undefined;
  /** A snapshot in the page: there is no server. */
  readonly isStatic: boolean;
  readonly since: string;
  readonly isPaused: boolean;
  setSince(since: string): void;
  setPaused(isPaused: boolean): void;
}

/** Undefined: the browser keeps nothing for this page, for example of a file. */
function storage(): Storage | undefined {
  try {
    return window.sessionStorage;
  } catch {
    return undefined;
  }
}

const forgetful = { getItem: () => null, setItem: () => undefined };
const { token, isFromUrl, hash: shownHash } = takeToken(location.hash, storage() ?? forgetful);
// The token stays out of the address bar, and out of what is copied from there.
if (isFromUrl) history.replaceState(null, '', `${location.pathname}${location.search}${shownHash}`);

/** The window that the command's option asked for. */
const sinceFirst = new URLSearchParams(shownHash.split('?')[1] ?? '').get('since') ?? '15m';

/** Asks the server. Rejects with a sentence. */
export async function ask(path: string, signal: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { headers: sessionHeaders(token), cache: 'no-store', signal });
  } catch (error) {
    if (signal.aborted && signal.reason !== undefined && (signal.reason as Error).name === 'AbortError')
      throw error;
    throw new Error('the server does not respond: is weft dashboard still running?', { cause: error });
  }
  if (response.ok) return response;
  const text = await response.text();
  let why = `the server responded ${response.status}`;
  try {
    const { error } = JSON.parse(text) as { readonly error?: unknown };
    if (typeof error === 'string') why = error;
  } catch {
    // The status says it.
  }
  throw new Error(why);
}

const embedded = document.getElementById('weft-snapshot');

function embeddedSnapshot(): Pick<Live, 'snapshot' | 'problem'> {
  try {
    return { snapshot: parseSnapshot(embedded?.textContent ?? ''), problem: undefined };
  } catch (error) {
    return { snapshot: undefined, problem: (error as Error).message };
  }
}

/** Keeps the last snapshot when the server is gone, and says so. */
export function useLive(): Live {
  const isStatic = embedded !== null;
  const [state, setState] = useState(() =>
    isStatic ? embeddedSnapshot() : { snapshot: undefined, problem: undefined },
  );
  const [since, setSince] = useState(sinceFirst);
  const [isPaused, setPaused] = useState(false);

  const refresh = useCallback(
    async (ending: AbortSignal) => {
      const signal = AbortSignal.any([ending, AbortSignal.timeout(timeoutMs)]);
      try {
        const response = await ask(`/api/snapshot?since=${since}`, signal);
        const snapshot = parseSnapshot(await response.text());
        if (ending.aborted) return;
        setState({ snapshot, problem: undefined });
      } catch (error) {
        if (!ending.aborted) setState((last) => ({ ...last, problem: (error as Error).message }));
      }
    },
    [since],
  );
  useEffect(() => {
    if (isStatic || isPaused) return undefined;
    const ending = new AbortController();
    let timer = 0;
    const again = async (): Promise<void> => {
      // A page that nobody sees asks nothing.
      if (!document.hidden) await refresh(ending.signal);
      if (!ending.signal.aborted) timer = window.setTimeout(again, refreshMs);
    };
    const shown = (): void => {
      if (document.hidden) return;
      clearTimeout(timer);
      void again();
    };
    void again();
    document.addEventListener('visibilitychange', shown);
    return () => {
      ending.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', shown);
    };
  }, [isStatic, isPaused, refresh]);
  return { ...state, isStatic, since, isPaused, setSince, setPaused };
}
