/**
 * How the page talks to the program that serves it. The URL that `weft dashboard` prints has a token after `#`: browsers do not send that part to
 * servers, and no page of another port gets it, as it would get a cookie. The page keeps the token for reloads of its tab and sends it with each
 * question. A page that was written with `--static` has no token and asks nothing.
 */
const storageKey = 'weft-dashboard-token';

/** What browsers have as `sessionStorage`. */
interface TokenStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/**
 * The token of the URL (`#token=…`, or `#/graph?token=…`), else that of the tab.
 * @param hash `location.hash`
 */
export function takeToken(
  hash: string,
  storage: TokenStorage,
): {
  readonly token: string;
  readonly isFromUrl: boolean;
  /** What stays in the address bar. */
  readonly hash: string;
} {
  const text = hash.replace(/^#/, '');
  const [path = '', query = ''] = text.startsWith('/') ? text.split('?', 2) : ['/', text];
  const parameters = new URLSearchParams(query);
  const given = parameters.get('token') ?? '';
  if (given === '') return { token: storage.getItem(storageKey) ?? '', isFromUrl: false, hash };
  storage.setItem(storageKey, given);
  parameters.delete('token');
  const rest = parameters.toString();
  return { token: given, isFromUrl: true, hash: `#${path}${rest === '' ? '' : `?${rest}`}` };
}

/** Headers of a question to `/api/…`. */
export const sessionHeaders = (token: string): Readonly<Record<string, string>> =>
  token === '' ? {} : { authorization: `Bearer ${token}` };

export interface ServerEvent {
  /** `message` if the server named none. */
  readonly event: string;
  readonly data: string;
}

const eventCharactersMax = 1 << 20;

/**
 * Reads server-sent events from the body of a response. EventSource cannot send the token.
 * Ends when the body ends; throws what the body throws, and for an event that is too large.
 */
export async function* serverEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const part of body) {
    rest += decoder.decode(part, { stream: true });
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    if (rest.length > eventCharactersMax) throw new Error('an event of the server is too large');
    for (const block of blocks) {
      const event = eventOf(block);
      if (event) yield event;
    }
  }
}

/** Undefined: a comment, by which the server shows that it is there. */
function eventOf(block: string): ServerEvent | undefined {
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const [, field, value = ''] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
  }
  return data.length === 0 ? undefined : { event, data: data.join('\n') };
}
