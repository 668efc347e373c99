/**
 * What a tap whose filter matches no request costs a waypoint. Rounds without a tap and with one alternate on one waypoint with real sockets, and the
 * CPU of a request is compared; since the difference is below the noise of a machine, the call that evaluates the filter is measured alone as
 * well, with the records of these requests. `ofRequest`: its share of the CPU of a request, which at 10 000 requests/s is `coreAt10000` of a core.
 *
 *   node dist/bench/waypoint/tap.js [REQUESTS_PER_ROUND] [ROUNDS]
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { loadavg } from 'node:os';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { TapFilter } from '../../src/model/tap.js';
import { Taps } from '../../src/telemetry/taps.js';
import type { RequestRecord } from '../../src/waypoint/telemetry/request-record.js';
import { RequestTap } from '../../src/waypoint/telemetry/request-tap.js';
import { id } from '../../test/support/mesh.js';
import { startWaypoint } from '../../test/support/waypoint.js';
import { median } from '../harness/statistics.js';
import { exchange, report, runClient } from './child.js';

const args = process.argv.slice(2);
const [requests = 4_000, rounds = 15] = args.map(Number);
const calls = 2_000_000;

/** Filters that match none, from the cheapest to one that looks up the client's workload for each request. */
const filters: Readonly<Record<string, TapFilter>> = {
  status: { statuses: ['5xx'] },
  path: { requestPaths: ['/admin/*', '/internal'] },
  policy: { policies: ['shop/no-such-policy'] },
  workload: { namespace: 'shop', identities: ['spiffe://*'], workloads: ['shop/no-such-workload'] },
};

async function serveEndpoint(): Promise<void> {
  const endpoint = http.createServer((_request, response) => response.end('ok'));
  endpoint.keepAliveTimeout = 600_000;
  await once(endpoint.listen(0, '127.0.0.1'), 'listening');
  process.on('message', () => undefined);
  report({ port: (endpoint.address() as AddressInfo).port });
}

const headers = { host: 'api.shop', 'user-agent': 'curl/8.5', accept: '*/*', 'x-user': 'user-17' };
const rounded = (value: number, digits = 4): number => Number(value.toPrecision(digits));

const on = (filter: TapFilter) => ({
  taps: [{ number: 1, query: { filter, sampleOf: 1 } }],
  leaseMs: 1e9,
});
const off = { taps: [], leaseMs: 0 };

async function measure(): Promise<void> {
  const start = (as: string): ChildProcess => fork(fileURLToPath(import.meta.url), [as]);
  const [endpoint, client] = [start('endpoint'), start('client')];
  const [{ port }] = await Promise.all([exchange(endpoint), exchange(client)]);
  const context = { after: () => undefined } as unknown as TestContext;
  const waypoint = await startWaypoint(context, { backends: { api: [Number(port)] }, identity: id('web') });
  const taps = new Taps();
  const tap = new RequestTap(taps, () => waypoint.context.state.view);
  let record: RequestRecord | undefined;
  waypoint.context.onRequestEnd = (ended) => {
    record = ended;
    tap.request(ended);
  };
  const found: Record<'without' | 'with', number[]> = { without: [], with: [] };
  // The first rounds warm up the compiler.
  for (let round = -5; round < rounds; round++) {
    const order = round % 2 === 0 ? (['without', 'with'] as const) : (['with', 'without'] as const);
    for (const kind of order) {
      taps.set(kind === 'with' ? on(filters['workload'] ?? {}) : off);
      const cpu = process.cpuUsage();
      await exchange(client, { port: waypoint.port, count: requests });
      const { user, system } = process.cpuUsage(cpu);
      if (round >= 0) found[kind].push((user + system) / requests);
      if (taps.take() !== undefined) throw new Error('the filter matched');
    }
  }
  const withoutUs = median(found.without);
  const ratios = found.with.map((value, i) => value / (found.without[i] ?? NaN));
  const last = record;
  if (!last) throw new Error('no request has ended');
  const nsOf = (setting: typeof off | ReturnType<typeof on>): number => {
    taps.set(setting);
    const times: number[] = [];
    for (let round = 0; round < 7; round++) {
      const cpu = process.cpuUsage();
      for (let i = 0; i < calls; i++) tap.request(last);
      const { user, system } = process.cpuUsage(cpu);
      times.push(((user + system) * 1_000) / calls);
    }
    return median(times);
  };
  const alone = Object.fromEntries(
    [
      ['off', off] as const,
      ...Object.entries(filters).map(([name, filter]) => [name, on(filter)] as const),
    ].map(([name, setting]) => {
      const ns = nsOf(setting);
      return [
        name,
        {
          ns: rounded(ns),
          ofRequest: rounded(ns / 1_000 / withoutUs),
          coreAt10000: rounded((ns * 1e4) / 1e9),
        },
      ];
    }),
  );
  console.log(
    JSON.stringify({
      requests,
      rounds,
      requestUs: rounded(withoutUs),
      ratio: rounded(median(ratios)),
      alone,
      load: loadavg().map((one) => Math.round(one)),
    }),
  );
  for (const child of [endpoint, client]) child.kill();
  process.exit(0);
}

if (args[0] === 'endpoint') await serveEndpoint();
else if (args[0] === 'client') runClient(headers);
else await measure();
