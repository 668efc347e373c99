/**
 * A worker's global rate limit without the HTTP around it: the filter decides about requests that are made up. Prints one JSON object.
 *
 *   node dist/bench/waypoint/resilience/replica.js CONFIG.json
 */
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { sleep } from '../../../src/base/wait.js';
import { parseIp, type Port } from '../../../src/model/address.js';
import { compileFilter } from '../../../src/waypoint/filters/chain.js';
import type { FilteredRequest, FilterResponse } from '../../../src/waypoint/filters/filter.js';
import { clientOf } from '../../../src/waypoint/listener/client.js';
import { GlobalLimits } from '../../../src/waypoint/rate-limit/global/global-limits.js';
import { OwnService } from '../../../src/waypoint/rate-limit/global/own-service.js';
import type { Svid } from '../../../src/tls/svid.js';
import { parseWeftConfig } from '../config.js';
import { keyOf, servicePort } from '../weft.js';
import { keyHeader } from './scene.js';

export interface ReplicaConfig {
  readonly svid: Svid;
  readonly limiter: Svid;
  readonly target: string;
  readonly requests: number;
  readonly perMs: number;
  readonly keys: number;
  readonly warmSeconds: number;
  readonly seconds: number;
  /** Decisions a second; absent: as many as it can. */
  readonly perSecond?: number;
  /** The first decision comes at a full multiple of this time. */
  readonly alignMs: number;
}

export interface ReplicaResult {
  readonly passed: number;
  readonly limited: number;
  /** Without a decision of the service. */
  readonly failed: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Calls of the service; `callsAll`: with those of the warm-up. */
  readonly calls: number;
  readonly callsAll: number;
}

/** Decisions in a row before the process reads from its sockets: as many as a busy worker has in one turn of its loop. */
const perTurn = 64;
/** Requests that wait for a decision, at most: a worker has no more of them than its clients have sent. */
const waitingMax = 256;

const config = parseWeftConfig(readFileSync(process.argv[2] ?? '', 'utf8')) as ReplicaConfig;
let calls = 0;
class CountedService extends OwnService {
  override call(...given: Parameters<OwnService['call']>): ReturnType<OwnService['call']> {
    calls++;
    return super.call(...given);
  }
}
const limits = new GlobalLimits({
  own: () =>
    new CountedService({
      target: config.target,
      identity: config.limiter.id,
      svid: () => config.svid,
    }),
  ofMesh: () => {
    throw new Error('no service of the mesh');
  },
  onLimitReached: (limit) => console.error(`limit reached: ${limit}`),
  onService: (service, failure) => failure !== undefined && console.error(`${service}: ${failure}`),
});
const { filter } = compileFilter({
  $case: 'globalRateLimit',
  value: {
    name: 'TrafficPolicy bench/main global',
    matches: [],
    keys: [{ kind: 'header', name: keyHeader }],
    requests: config.requests,
    perMs: config.perMs,
    dryRun: false,
    failClosed: true,
    timeoutMs: 1_000,
    service: undefined,
  },
});
const client = clientOf(undefined, { ip: parseIp('127.0.0.1'), port: 1 as Port });
const requests = Array.from({ length: config.keys }, (_, at): FilteredRequest => {
  const headers = [keyHeader, `user-${at}`];
  return {
    context: { globalRateLimits: limits },
    client,
    downstream: { version: 'http1', head: { method: 'GET', path: '/item', headers } },
    authorization: { originalHeaders: headers },
    servicePort: { service: keyOf('main'), port: servicePort },
    dialedPort: servicePort,
    slots: undefined,
    act: () => undefined,
  } as unknown as FilteredRequest;
});

const result = { passed: 0, limited: 0, failed: 0 };
const count = (response: FilterResponse | undefined): void => {
  if (response === undefined) result.passed++;
  else if (response.kind === 'reply' && response.reply.status === 429) result.limited++;
  else result.failed++;
};
let at = 0;
let waiting = 0;
let wake: (() => void) | undefined;
function decide(): void {
  const request = requests[at++ % requests.length];
  if (!request) return;
  request.slots = undefined;
  const response = filter.onRequest?.(request);
  if (!(response instanceof Promise)) return count(response);
  waiting++;
  void response.then((later) => {
    waiting--;
    count(later);
    wake?.();
  });
}

async function run(seconds: number): Promise<void> {
  const began = performance.now();
  const end = began + seconds * 1000;
  let due = began;
  for (let now = began; now < end; now = performance.now()) {
    if (config.perSecond === undefined) {
      for (let i = 0; i < perTurn; i++) decide();
      await new Promise(setImmediate);
      while (waiting >= waitingMax) await new Promise<void>((resolve) => (wake = resolve));
    } else {
      for (; due <= now; due += 1000 / config.perSecond) decide();
      await sleep(1);
    }
  }
  while (waiting > 0) await sleep(1);
}

await run(config.warmSeconds);
if (config.alignMs > 0) await sleep(config.alignMs - (Date.now() % config.alignMs));
Object.assign(result, { passed: 0, limited: 0, failed: 0 });
const callsBefore = calls;
const cpuBefore = process.cpuUsage();
const began = performance.now();
// It ends before the next window begins.
await run(config.alignMs > 0 ? config.seconds - 0.01 : config.seconds);
const { user, system } = process.cpuUsage(cpuBefore);
const seconds = (performance.now() - began) / 1000;
const report: ReplicaResult = {
  ...result,
  seconds,
  cpuSeconds: (user + system) / 1e6,
  calls: calls - callsBefore,
  callsAll: calls,
};
console.log(JSON.stringify(report));
process.exit(0);
