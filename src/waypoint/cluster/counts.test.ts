import assert from 'node:assert/strict';
import type http from 'node:http';
import { test } from 'node:test';
import { connect } from '../../../test/support/http2-client.js';
import { mirrorTo } from '../../../test/support/filters.js';
import { key } from '../../../test/support/mesh.js';
import { settingsOfApi } from '../../../test/support/retry-policies.js';
import { dice } from '../../../test/support/random-mesh.js';
import {
  backend,
  eventually,
  http2Upstream,
  httpUpstream,
  meshOf,
  RawClient,
  route,
  startWaypoint,
} from '../../../test/support/waypoint.js';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const steps = 250;

for (const protocol of ['http1', 'http2'] as const) {
  test(`${protocol}: nothing stays counted after random requests, failures, departures and updates`, async (t) => {
    const roll = dice(protocol === 'http1' ? 1 : 2);
    const handler = (request: http.IncomingMessage, response: http.ServerResponse): void => {
      request.on('error', () => undefined);
      response.on('error', () => undefined);
      const what = roll(8);
      if (what === 0) return;
      if (what === 1) return void response.destroy();
      if (what > 2) request.resume();
      const end = (): void => {
        response.statusCode = what === 3 ? 503 : 200;
        if (what === 4) response.write('x'.repeat(200_000));
        if (what !== 5) response.end('x');
      };
      if (what === 6) setTimeout(end, roll(60));
      else end();
    };
    const start = async (): Promise<number> => {
      if (protocol === 'http1') return (await httpUpstream(t, handler)).port;
      const { port, server } = await http2Upstream(t, () => undefined);
      server.on('request', handler as unknown as (...both: unknown[]) => void);
      return port;
    };
    const ports = [await start(), await start(), await start()];
    const given = { api: ports.slice(0, 2), other: ports.slice(2) };
    const service = { service: key('other'), port: 80 };
    const waypoint = await startWaypoint(t, {
      backends: given,
      protocol,
      limits: { connectionsPerEndpointMax: 2, connectTimeoutMsMax: 100, mirrorIdleMsMax: 200 },
      routes: [
        route('r', [
          {
            requestTimeoutMs: 400,
            backendRequestTimeoutMs: 150,
            retry: { codes: [503], attempts: 3, backoffMs: 5 },
            backends: [backend('api', 3), backend('other')],
            filters: [mirrorTo({ kind: 'service', ...service })],
          },
        ]),
      ],
    });
    const { context, clusters } = waypoint;
    const session = connect(t, waypoint.port);
    session.on('error', () => undefined);
    const update = (): void => {
      const port = { service: key('api'), port: 80, origins: [] };
      switch (roll(6)) {
        case 0:
          return void waypoint.apply({
            mesh: meshOf({ ...given, api: ports.slice(roll(2), 1 + roll(2)) }, protocol),
          });
        case 1:
          return void waypoint.apply({ mesh: { removed: [key('other')] } });
        case 2:
          return void waypoint.apply({
            servicePolicies: [
              settingsOfApi('p', {
                requestsMax: 1 + roll(20),
                pendingRequestsMax: roll(6),
                retryBudgetPercent: roll(50),
                ...(roll(2) === 0 ? { connectionsMax: 1 + roll(4), requestsPerConnectionMax: roll(4) } : {}),
                ...(roll(2) === 0
                  ? { clientConnectionsMax: 1 + roll(4), clientRequestsMax: 1 + roll(9) }
                  : {}),
                ...(roll(2) === 0 ? { clientPendingRequestsMax: roll(5), pendingTimeoutMs: 50 } : {}),
                circuitBreakerDryRun: roll(4) === 0,
                // The rule's own retry stays; it is hedged, also for POST.
                retry: { perTryTimeoutMs: 5 + roll(40), hedge: roll(3) > 0, unsafeMethods: ['POST'] },
                timeouts: { streamMsMax: 50 + roll(400) },
              }),
            ],
          });
        case 3:
          return void waypoint.apply({ servicePolicies: [{ ...port, closed: 'field 50' }] });
        case 4:
          return void waypoint.apply({ removedServicePolicies: [`${key('api')}:80`] });
        default:
          return void waypoint.apply({ mesh: meshOf(given, protocol) });
      }
    };
    for (let step = 0; step < steps; step++) {
      if (roll(8) === 0) update();
      const hasBody = roll(2) === 0;
      if (roll(2) === 0) {
        const stream = session.request(
          { ':method': hasBody ? 'POST' : 'GET', ':path': '/' },
          { endStream: !hasBody },
        );
        stream.on('error', () => undefined).resume();
        if (hasBody) stream.write('x'.repeat(1 + roll(100_000)));
        if (hasBody && roll(3) > 0) stream.end('y');
        if (roll(3) === 0) setTimeout(() => stream.close(8), roll(80));
      } else {
        const client = await RawClient.open(waypoint.port);
        client.write(
          hasBody
            ? 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nab'
            : 'GET / HTTP/1.1\r\nhost: a\r\n\r\n',
        );
        if (hasBody && roll(3) > 0) client.write('c');
        setTimeout(() => client.socket.destroy(), roll(2) === 0 ? roll(80) : 1_000);
      }
      if (roll(3) === 0) await sleep(roll(10));
    }
    assert.ok(waypoint.limitsReached.length > 0);
    // With its limits everything is counted in shared memory as well.
    const limits = { requestsMax: 9, connectionsMax: 9, clientRequestsMax: 9, clientConnectionsMax: 9 };
    waypoint.apply({ mesh: meshOf(given, protocol) });
    waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], ...limits }] });
    const { breaker } = clusters.ofService(key('api'), 80) ?? assert.fail();
    session.destroy();
    const left = (): unknown => ({
      requests: [context.exchanges.size, context.requestShares.size],
      connections: [context.connections.size, context.connectionShares.size],
      mirrors: [context.mirrorShares.size, context.mirrorBufferShares.size],
      clusters: clusters
        .dump()
        .map(
          (one) =>
            one as { active: number; pending: number; retries: number; endpoints: { active: number }[] },
        )
        .filter(
          (one) => one.active || one.pending || one.retries || one.endpoints.some(({ active }) => active),
        ),
      counted: [0, 1, 2].map((kind) => breaker.all.total(kind)),
    });
    const nothing = {
      requests: [0, 0],
      connections: [0, 0],
      mirrors: [0, 0],
      clusters: [],
      counted: [0, 0, 0],
    };
    await eventually(
      () => JSON.stringify(left()) === JSON.stringify(nothing),
      'everything is released',
      8_000,
    ).catch(() => assert.deepEqual(left(), nothing));
  });
}
