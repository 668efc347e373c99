/** Row 2 of docs/security.md: a tenant's consumer route does not exploit the network position of the producer's waypoint. */
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { mirrorTo } from '../support/filters.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { RouteRule } from '../../src/model/route.js';
import { key, service, workload } from '../support/mesh.js';
import {
  ask,
  backend,
  eventually,
  httpUpstream,
  route,
  startWaypoint,
  echoHandler,
} from '../support/waypoint.js';

/** No other member of the mesh has this address. */
const address = '127.0.0.9';

/** The waypoint of `shop` in front of the Service api. `inside` counts the requests to the Service of that name. */
async function setUp(t: TestContext, routeNamespace: string) {
  const api = await httpUpstream(t, echoHandler('api'));
  const inside = { asked: 0 };
  const server = http.createServer((_request, response) => {
    inside.asked++;
    response.setHeader('x-upstream', 'inside');
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const to = (rule: Partial<RouteRule>) => route('split', [rule], { namespace: routeNamespace });
  const waypoint = await startWaypoint(t, {
    backends: { api: [api.port], inside: [port] },
    identity: parseSpiffeId('spiffe://cluster.local/ns/evil/sa/web'),
    routes: [to({ backends: [backend('inside')] })],
  });
  const mapping = [{ servicePort: 80, targetPort: port, appProtocol: 'unknown' as const }];
  const enroll = (tunnel: 'none' | 'hbone'): unknown =>
    waypoint.apply({
      mesh: {
        // The Service has no waypoint, so this waypoint does not serve it.
        services: [service('inside', '10.96.0.2', 8080, { ports: mapping })],
        workloads: [
          workload('inside-0', address, 'node-1', { services: new Map([[key('inside'), mapping]]), tunnel }),
        ],
      },
    });
  enroll('none');
  return { waypoint, enroll, inside, to };
}

test("a consumer route cannot make the producer's waypoint connect to an address without a tunnel", async (t) => {
  const { waypoint, enroll, inside } = await setUp(t, 'evil');
  assert.equal((await ask(waypoint.port)).status, 500);
  assert.match(String(waypoint.records.at(-1)?.why), /not in the mesh/);
  assert.equal(inside.asked, 0);
  // An enrolled endpoint terminates a tunnel and authorizes the client itself.
  enroll('hbone');
  assert.equal((await ask(waypoint.port)).headers['x-upstream'], 'inside');
  enroll('none');
  assert.equal((await ask(waypoint.port)).status, 500);
  assert.equal(inside.asked, 1);
});

test("a consumer route cannot make the producer's waypoint mirror requests to an address without a tunnel", async (t) => {
  const { waypoint, enroll, inside, to } = await setUp(t, 'evil');
  const mirror = mirrorTo({ kind: 'service' as const, service: key('inside'), port: 80 });
  waypoint.apply({ routes: [to({ filters: [mirror] })] });
  assert.equal((await ask(waypoint.port)).headers['x-upstream'], 'api');
  // A mirrored request that is allowed arrives. A forbidden one would have arrived before it.
  enroll('hbone');
  assert.equal((await ask(waypoint.port)).headers['x-upstream'], 'api');
  await eventually(() => inside.asked === 1, 'a copy');
});

test("the producer's own routes may name any backend", async (t) => {
  const { waypoint } = await setUp(t, 'shop');
  assert.equal((await ask(waypoint.port)).headers['x-upstream'], 'inside');
});
