/** Loads of HTTP/2: bench/load/h2client.c. */
import { cpuOf, loadProgram, numberAt, runJson } from '../harness/load.js';
import type { Target } from './measure.js';

/** `http`: GET. `grpc`: unary calls. `echo`: gRPC calls in both directions, a message at a time on each. */
export interface Http2Load {
  readonly kind: 'http' | 'grpc' | 'echo';
  /** At a time, on one connection. */
  readonly streams: number;
  readonly messageBytes: number;
  /** Fixed times; as fast as responses arrive where absent. */
  readonly perSecond?: number;
}

interface Http2Result {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  /** Requests that found no free stream. */
  readonly waited: number;
}

const slackMs = 30_000;

export async function runHttp2Load(
  { port }: Target,
  { kind, streams, messageBytes, perSecond = 0 }: Http2Load,
  seconds: number,
  warmMs: number,
): Promise<Http2Result> {
  const ms = Math.round(seconds * 1000);
  const got = await runJson(
    undefined,
    loadProgram('h2client'),
    [
      ...['127.0.0.1', String(port), String(cpuOf.client), kind, '1', String(streams)],
      ...[messageBytes, Math.round(perSecond), ms, warmMs].map(String),
    ],
    ms + warmMs + slackMs,
  );
  return {
    p50: numberAt(got, 'p50_us'),
    p90: numberAt(got, 'p90_us'),
    p99: numberAt(got, 'p99_us'),
    p999: numberAt(got, 'p999_us'),
    waited: numberAt(got, 'waited'),
  };
}
