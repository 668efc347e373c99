/** Asks Prometheus' HTTP API. Its response is bounded, and a token goes to no other server. */
import { readFileSync } from 'node:fs';
import { errorText, WeftError } from '../../base/errors.js';
import { printable } from '../printable.js';
import { decodeAnswer, type PrometheusAnswer } from './decode.js';

export const prometheusLimits = { answerBytes: 64 << 20, answerMs: 30_000, tokenBytes: 65_536 } as const;

export interface PrometheusServer {
  readonly url: URL;
  readonly token?: string;
}

/** The reason may have the server's own words. */
const failed = (why: string): WeftError => new WeftError('WEFT_PROMETHEUS', printable(why));

const isLoopback = ({ hostname }: URL): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);

/** The server of a URL. Error: WEFT_PROMETHEUS. */
export function prometheusServer(text: string, tokenFile: string | undefined): PrometheusServer {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw failed(`"${text}" is no URL of a Prometheus: give one such as http://127.0.0.1:9090`);
  if (url.username !== '' || url.password !== '')
    throw failed(
      'a URL with a password would be shown to others of this machine: use --prometheus-token-file',
    );
  if (tokenFile === undefined) return { url };
  if (url.protocol === 'http:' && !isLoopback(url))
    throw failed(
      `a token would go to ${url.origin} unencrypted: use https, or a port-forward and http://127.0.0.1:9090`,
    );
  return { url, token: readToken(tokenFile) };
}

function readToken(file: string): string {
  let token: string;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw failed(`the token for Prometheus cannot be read: ${errorText(error)}`);
  }
  if (token === '' || token.length > prometheusLimits.tokenBytes || /[^\x21-\x7e]/.test(token))
    throw failed(`${file} has no bearer token: it must be one line of printable characters`);
  return token;
}

/** The endpoint of the API below the URL's own path: Prometheus may be behind a prefix. */
function endpointOf(url: URL, endpoint: string): URL {
  const found = new URL(url);
  found.pathname = `${found.pathname.replace(/\/+$/, '')}/api/v1/${endpoint}`;
  found.search = '';
  found.hash = '';
  return found;
}

async function boundedText(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += part.length;
    if (size > prometheusLimits.answerBytes)
      throw failed(
        `the response of Prometheus is larger than ${prometheusLimits.answerBytes >> 20} MiB: ask for less with -n and a namespace`,
      );
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** What to do about a response that is no answer. */
function refusalOf({ url }: PrometheusServer, status: number, answer: PrometheusAnswer): WeftError {
  const where = `Prometheus at ${url.origin}`;
  if (status === 401 || status === 403)
    return failed(
      `${where} refuses with status ${status}: give a token that may read it with --prometheus-token-file`,
    );
  if (status === 404)
    return failed(
      `${where} has no API at this path: is ${url.href} the URL of Prometheus, with its prefix if it has one?`,
    );
  const why = answer.kind === 'error' ? answer.why : 'it gave no reason';
  return failed(`${where} responded ${status}: ${why}`);
}

/** Asks for one query. Error: WEFT_PROMETHEUS. */
export async function askPrometheus(
  server: PrometheusServer,
  endpoint: 'query' | 'query_range',
  parameters: Readonly<Record<string, string>>,
): Promise<Exclude<PrometheusAnswer, { readonly kind: 'error' }>> {
  const { url, token } = server;
  let status: number;
  let text: string;
  try {
    const response = await fetch(endpointOf(url, endpoint), {
      method: 'POST',
      body: new URLSearchParams(parameters),
      headers: {
        accept: 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      redirect: 'error',
      signal: AbortSignal.timeout(prometheusLimits.answerMs),
    });
    status = response.status;
    text = await boundedText(response);
  } catch (error) {
    if (error instanceof WeftError) throw error;
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw failed(`Prometheus at ${url.origin} does not respond: ${errorText(cause)}`);
  }
  const answer = decodeAnswer(text);
  if (status !== 200 || answer.kind === 'error') throw refusalOf(server, status, answer);
  return answer;
}
