/** Connections and requests that happened, from the logs of agents and waypoints. */
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { errorText, WeftError } from '../../base/errors.js';
import { isRecord } from '../../base/record.js';
import { requestOf, type Request } from './request.js';

/** One line of a log, and where it was found. */
export interface PastLine {
  /** The file without the state directory: `agent-node-a/connections.log`. */
  readonly file: string;
  readonly kind: 'connection' | 'request';
  readonly line: Readonly<Record<string, unknown>>;
}

export const linesMax = 100;
const lineCharsMax = 1 << 20;

/** The logs of a testbed: agents' connection logs, and waypoints' access logs. */
export function logsOf(state: string): readonly string[] {
  if (!existsSync(state)) return [];
  const found: string[] = [];
  for (const entry of readdirSync(state, { withFileTypes: true })) {
    if (entry.isDirectory() && entry.name.startsWith('agent-'))
      found.push(join(state, entry.name, 'connections.log'));
    else if (/^waypoint-.*\.requests\.log$/.test(entry.name)) found.push(join(state, entry.name));
  }
  return found.filter((path) => existsSync(path)).sort();
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Whether a line is about the connection or request: by its id, or by the client's address and port. */
function isAbout(line: Readonly<Record<string, unknown>>, id: string): PastLine['kind'] | undefined {
  const { id: own, source, sourceAddress } = line;
  if (isRecord(source)) return own === id || textOf(source['address']) === id ? 'connection' : undefined;
  return own === id || textOf(sourceAddress) === id ? 'request' : undefined;
}

/**
 * The lines about one connection, the newest last. Lines that are no JSON are left out: a line may just be written.
 * @param files `-` is standard input
 */
export async function pastLines(
  files: readonly string[],
  id: string,
  state = '',
): Promise<readonly PastLine[]> {
  const found: PastLine[] = [];
  for (const file of files) {
    const input = file === '-' ? process.stdin : createReadStream(file, 'utf8');
    try {
      for await (const text of createInterface({ input, crlfDelay: Infinity })) {
        const line = lineAbout(
          text,
          id,
          state !== '' && file.startsWith(`${state}/`) ? file.slice(state.length + 1) : file,
        );
        if (line) found.push(line);
        if (found.length > linesMax) found.shift();
      }
    } catch (error) {
      throw new WeftError('WEFT_SOURCE_MISSING', `${file}: ${errorText(error)}`, { cause: error });
    }
  }
  return found;
}

/** The line of a log, if it is about the connection or request. */
export function lineAbout(text: string, id: string, file: string): PastLine | undefined {
  // Most lines are about others, and parsing is slow.
  if (text.length > lineCharsMax || !text.includes(id)) return undefined;
  const line = parsed(text);
  const kind = line && isAbout(line, id);
  return line && kind ? { file, kind, line } : undefined;
}

/** `kubectl logs --prefix` puts the pod's name before the line. */
function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text.slice(Math.max(0, text.indexOf('{'))));
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const fieldOf = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' ? String(value) : '';

const partyText = (value: unknown): string => {
  if (!isRecord(value)) return 'unknown';
  const [namespace, pod, identity, address] = [
    value['namespace'],
    value['pod'],
    value['identity'],
    value['address'],
  ].map(fieldOf);
  return [
    pod === '' || pod === 'unknown' ? '' : `${namespace}/${pod}`,
    identity === 'unknown' ? '' : identity,
    address,
  ]
    .filter((one) => one !== '')
    .join('  ');
};

/** A waypoint chooses the pod of a Service: that of the line is a guess. */
function destinationText(line: PastLine['line']): string {
  const [waypoint, service] = [fieldOf(line['waypoint']), fieldOf(line['service'])];
  const destination = line['destination'];
  const isGuess = waypoint !== '' && service !== '' && isRecord(destination);
  return [
    partyText(isGuess ? { address: destination['address'] } : destination),
    service === '' ? '' : `by Service ${service}`,
    waypoint === '' ? '' : `through the waypoint at ${waypoint}`,
  ]
    .filter((one) => one !== '')
    .join('  ');
}

/** The lines for a terminal: what happened, and why. */
export function* pastText(lines: readonly PastLine[]): Generator<string> {
  for (const { file, kind, line } of lines) {
    const [path, why, code, policy, rule, ended] = ['path', 'why', 'code', 'policy', 'rule', 'ended'].map(
      (name) => fieldOf(line[name]),
    );
    const decided = [code, policy === '' ? '' : `policy ${policy}${rule === '' ? '' : ` rule ${rule}`}`]
      .filter((one) => one !== '')
      .join(', ');
    const suffix = decided === '' ? '' : ` (${decided})`;
    if (kind === 'connection') {
      yield `${path === 'refused' ? 'REFUSED' : 'CONNECTED'}  ${fieldOf(line['direction'])}, by path ${path}: ${why}${suffix}`;
      yield `  from   ${partyText(line['source'])}`;
      yield `  to     ${destinationText(line)}`;
      yield `  bytes  ${fieldOf(line['bytesSent'])} sent, ${fieldOf(line['bytesReceived'])} received in ${fieldOf(line['durationMs'])} ms; ended: ${ended}`;
    } else {
      yield `RESPONSE ${fieldOf(line['status'])}  ${fieldOf(line['method'])} ${fieldOf(line['authority'])}${fieldOf(line['path'])}${why === '' ? '' : `: ${why}`}${suffix}`;
      yield `  from   ${fieldOf(line['source'])}  ${fieldOf(line['sourceAddress'])}`;
      yield `  to     ${fieldOf(line['pod'])}  ${fieldOf(line['destination'])}  ${fieldOf(line['endpoint'])}`;
      yield `  route  ${fieldOf(line['route'])}`;
    }
    yield `  log    ${file}`;
    yield '';
  }
}

/** Source and destination of the same connection, to ask what would happen now; undefined: a party is not known. */
export function questionOf(
  lines: readonly PastLine[],
): { readonly source: string; readonly destination: string } | undefined {
  const last = lines.findLast(({ kind }) => kind === 'request');
  if (last && lines.every(({ kind }) => kind === 'request')) return questionOfRequest(last);
  // The client's side knows what was dialed.
  const own =
    lines.find(({ line, kind }) => kind === 'connection' && line['direction'] === 'outbound') ??
    lines.find(({ kind }) => kind === 'connection');
  if (!own || !isRecord(own.line['source']) || !isRecord(own.line['destination'])) return undefined;
  const { namespace, pod } = own.line['source'];
  const dialed = textOf(own.line['dialled']) || textOf(own.line['destination']['address']);
  if (textOf(pod) === '' || pod === 'unknown' || dialed === '' || dialed === 'unknown') return undefined;
  return { source: `${textOf(namespace)}/${textOf(pod)}`, destination: dialed };
}

/** The client's address is that of its pod, or of a gateway. */
function questionOfRequest({ line }: PastLine): ReturnType<typeof questionOf> {
  const source = /^(.*):\d+$/.exec(textOf(line['sourceAddress']))?.[1]?.replace(/^\[(.*)\]$/, '$1');
  const service = textOf(line['service']);
  if (source === undefined || !/[a-z0-9]/.test(service) || service === 'unknown') return undefined;
  const port = line['servicePort'];
  // Waypoints of earlier versions log no port. An address that was dialed has its own.
  const isNamed = !/:\d+$/.test(service) && typeof port === 'number' && isPort(port);
  return { source, destination: isNamed ? `${service}:${port}` : service };
}

const isPort = (port: number): boolean => Number.isInteger(port) && port > 0 && port <= 65_535;

/**
 * The last request that a waypoint has logged, without its headers, which the log does not have. Undefined: there is none, or it is one that
 * clients of HTTP/1.1 cannot send.
 */
export function loggedRequestOf(lines: readonly PastLine[]): Request | undefined {
  const last = lines.findLast(({ kind }) => kind === 'request');
  if (!last) return undefined;
  const [method, path, host] = ['method', 'path', 'authority'].map((name) => textOf(last.line[name]));
  try {
    return requestOf({
      ...(method ? { method } : {}),
      ...(path ? { path } : {}),
      ...(host ? { host } : {}),
    });
  } catch {
    return undefined;
  }
}
