/**
 * What external authorization costs a waypoint: CPU of a request that a decision service is asked about, and of one whose decision is kept, beside
 * the same request without a decision, and what the call of the service alone costs (`callUs`: HTTP/2 and its socket, which any proxy pays). Decision
 * service (Envoy's API over gRPC), endpoint and client are processes of their own, on real sockets;
 * loopback is in place of tunnels. Rounds of the three kinds alternate, and the medians of the rounds are compared, so that what else the machine
 * does meets all of them.
 *
 *   node dist/bench/waypoint/decisions.js [REQUESTS_PER_ROUND] [ROUNDS]
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { loadavg } from 'node:os';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseIp } from '../../src/model/address.js';
import type { RouteFilter } from '../../src/model/route.js';
import type { Call } from '../../src/waypoint/external-authorization/asked-request.js';
import { callService } from '../../src/waypoint/external-authorization/decision-service.js';
import { clientOf } from '../../src/waypoint/listener/client.js';
import { grpcBody } from '../../src/waypoint/http/grpc.js';
import { askFilter, checkResponse, okWith, respondGrpc } from '../../test/support/decision-services.js';
import { id, key } from '../../test/support/mesh.js';
import { startWaypoint, type TestWaypoint } from '../../test/support/waypoint.js';
import { median } from '../harness/statistics.js';
import { concurrent, each, exchange, report, runClient } from './child.js';

const args = process.argv.slice(2);
const [requests = 2_000, rounds = 15] = args.map(Number);
const portOf = (server: { address(): AddressInfo | string | null }): number =>
  (server.address() as AddressInfo).port;

/** A call of about the size of a request's, without what makes and reads it. */
const call: Call = {
  method: 'POST',
  path: '/envoy.service.auth.v3.Authorization/Check',
  authority: 'authz.shop.svc.cluster.local',
  headers: ['content-type', 'application/grpc', 'te', 'trailers', 'grpc-timeout', '20000m'],
  body: grpcBody(Buffer.alloc(700)),
  version: 'http2',
};
const callAlone = (context: TestWaypoint['context']): Promise<unknown> =>
  callService(
    context,
    clientOf(id('waypoint'), { ip: parseIp('127.0.0.1'), port: 0 }),
    { kind: 'service', service: key('authz'), port: 80 },
    call,
    20_000,
    { isOver: false, cancel: undefined },
  );

/** The decision service, which allows everything, and the endpoint. */
async function serveEnds(): Promise<void> {
  const allowed = grpcBody(checkResponse(okWith({})));
  let asked = 0;
  const decisions = http2.createServer();
  decisions.on('stream', (stream) => {
    asked++;
    stream.resume();
    stream.on('end', () => respondGrpc(stream, allowed));
  });
  const endpoint = http.createServer((_request, response) => response.end('ok'));
  endpoint.keepAliveTimeout = 600_000;
  for (const server of [decisions, endpoint]) await once(server.listen(0, '127.0.0.1'), 'listening');
  process.on('message', () => report({ asked }));
  report({ decisions: portOf(decisions), endpoint: portOf(endpoint) });
}

/** The eight headers of a usual request. */
const headers = {
  host: 'api.shop',
  'user-agent': 'curl/8.5',
  accept: '*/*',
  'x-request-id': '6d1f8a1e-9a53-4a55-8a57-3f7f7f7f7f7f',
  traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  cookie: 'session=6d1f8a1e9a534a558a573f7f7f7f7f7f',
  'x-user': 'user-17',
  'accept-language': 'en',
};

const rounded = (value: number): number => Math.round(value * 100) / 100;

async function measure(): Promise<void> {
  const start = (as: string): ChildProcess => fork(fileURLToPath(import.meta.url), [as]);
  const [ends, client] = [start('ends'), start('client')];
  const [ports] = await Promise.all([exchange(ends), exchange(client)]);
  const afterwards: (() => void)[] = [];
  const context = { after: (end: () => void) => afterwards.push(end) } as unknown as TestContext;
  const waypoint = await startWaypoint(context, {
    backends: { api: [Number(ports['endpoint'])], authz: [Number(ports['decisions'])] },
    identity: id('web'),
    self: id('waypoint'),
  });
  const kinds: Readonly<Record<string, readonly RouteFilter[]>> = {
    without: [],
    asked: [askFilter()],
    kept: [askFilter({ cacheMs: 600_000 })],
  };
  const found = new Map(Object.keys(kinds).map((kind) => [kind, [] as number[]]));
  // The first rounds warm up the compiler.
  const calls: number[] = [];
  for (let round = -5; round < rounds; round++) {
    const callCpu = process.cpuUsage();
    await each(requests, () => callAlone(waypoint.context));
    const spent = process.cpuUsage(callCpu);
    if (round >= 0) calls.push((spent.user + spent.system) / requests);
    for (const [kind, filters] of Object.entries(kinds)) {
      waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters }] });
      const before = Number((await exchange(ends, {}))['asked']);
      const cpu = process.cpuUsage();
      await exchange(client, { port: waypoint.port, count: requests });
      const { user, system } = process.cpuUsage(cpu);
      const asked = Number((await exchange(ends, {}))['asked']) - before;
      if (kind === 'asked' ? asked !== requests : asked > concurrent)
        throw new Error(`${kind}: ${asked} of ${requests} requests were asked about`);
      if (round >= 0) found.get(kind)?.push((user + system) / requests);
    }
  }
  const summary = (of: (values: readonly number[]) => number): object => {
    const [without = NaN, asked = NaN, kept = NaN] = [...found.values()].map(of);
    const call = of(calls);
    return Object.fromEntries(
      Object.entries({
        withoutUs: without,
        askedUs: asked,
        keptUs: kept,
        callUs: call,
        askedBesideCallUs: asked - without - call,
        keptMoreUs: kept - without,
        askedRatio: asked / without,
        keptRatio: kept / without,
      }).map(([name, value]) => [name, rounded(value)]),
    );
  };
  // The least is what the machine's other work disturbed least.
  console.log(
    JSON.stringify({
      requests,
      rounds,
      median: summary(median),
      least: summary((all) => Math.min(...all)),
      load: loadavg().map((one) => Math.round(one)),
    }),
  );
  for (const child of [ends, client]) child.kill();
  process.exit(0);
}

if (args[0] === 'ends') await serveEnds();
else if (args[0] === 'client') runClient(headers);
else await measure();
