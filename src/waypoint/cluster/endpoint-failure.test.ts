/** Which connection failures count against an endpoint: real tunnels on loopback between a waypoint's dial and nodes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test, type TestContext } from 'node:test';
import { startHbone, svidOf } from '../../../test/support/hbone.js';
import { behind, id, key, replica, service, waypointRef, workload } from '../../../test/support/mesh.js';
import { deadPort } from '../../../test/support/waypoint.js';
import { WeftError } from '../../base/errors.js';
import { isEndpointFailure } from '../../hbone/endpoint-failure.js';
import { TunnelPool } from '../../hbone/pool.js';
import type { InboundTunnel } from '../../hbone/server.js';
import { parseIp } from '../../model/address.js';
import type { Svid } from '../../tls/svid.js';
import { clientOf } from '../listener/client.js';
import { connect, createDial } from './dial.js';
import { defaultLimits } from '../limits.js';
import type { UpstreamFailure } from '../http/http-stream.js';
import { localReplyOf } from '../http/local-reply.js';
import { WaypointState } from '../state/waypoint-state.js';
import type { Endpoint } from './endpoint.js';
import { ClusterManager } from './cluster-manager.js';

const client = clientOf(id('web'), { ip: parseIp('10.0.0.9'), port: 1 });

/** A cluster's result of dialing an endpoint whose node listens at `nodePort`. */
async function attempt(
  t: TestContext,
  nodePort: number,
  svid: Svid | undefined,
): Promise<{ readonly endpoint: Endpoint; readonly failure: UpstreamFailure }> {
  const state = new WaypointState('node-1', key('waypoint'));
  state.apply({
    mesh: {
      services: [service('api', '10.96.0.1')],
      workloads: [
        workload('api', '10.0.0.1', 'node-1', {
          services: new Map([[key('api'), [{ servicePort: 80, targetPort: 8080, appProtocol: 'http1' }]]]),
        }),
      ],
    },
  });
  const tunnels = new TunnelPool();
  t.after(() => tunnels.close());
  const dial = createDial(
    state,
    tunnels,
    () => svid,
    defaultLimits,
    (_to, timeoutMs) => connect({ ip: parseIp('127.0.0.1'), port: nodePort }, timeoutMs),
  );
  const clusters = new ClusterManager(state, dial, defaultLimits, () => undefined);
  t.after(() => clusters.drain());
  const cluster = clusters.ofService(key('api'), 80);
  const endpoint = cluster?.endpoints[0];
  assert.ok(cluster && endpoint);
  const failure = await new Promise<UpstreamFailure>((resolve, reject) =>
    cluster.acquire(endpoint, client, 'http1', false, (_upstream, why) =>
      why ? resolve(why) : reject(new Error('it is connected')),
    ),
  );
  return { endpoint, failure };
}

const refusing = (t: TestContext, status: number) =>
  startHbone(t, id('api'), (tunnel: InboundTunnel) => tunnel.refuse(status));

test('a failure that the endpoint did not cause does not count against it, and has its own code', async (t) => {
  const node = await refusing(t, 401);
  const own = svidOf(id('waypoint'));
  for (const [what, port, svid, code] of [
    ['no certificate of our own', node.port, undefined, 'WEFT_NO_CERTIFICATE'],
    ['a policy of the node', node.port, own, 'WEFT_TUNNEL_REFUSED'],
  ] as const) {
    const { endpoint, failure } = await attempt(t, port, svid);
    assert.equal(endpoint.health.failures, 0, what);
    assert.equal(localReplyOf(failure).code, code, what);
  }
});

test('a failure of the endpoint counts: its node does not listen, or its node cannot reach the application', async (t) => {
  const own = svidOf(id('waypoint'));
  const node = await refusing(t, 503);
  const another = await startHbone(t, id('other'), (tunnel) => tunnel.refuse(503));
  for (const port of [await deadPort(), node.port, another.port]) {
    const { endpoint, failure } = await attempt(t, port, own);
    assert.equal(endpoint.health.failures, 1, failure.why);
    assert.equal(localReplyOf(failure).code, 'WEFT_UPSTREAM_CONNECT');
  }
});

test('an unreachable replica of another waypoint is skipped', async (t) => {
  const state = new WaypointState('node-1', key('waypoint'));
  state.apply({
    mesh: {
      services: [
        service('api', '10.96.0.1', 8080, { waypoint: waypointRef }),
        service('wp', '10.96.0.2', 15008),
      ],
      workloads: [
        workload('api', '10.0.0.1', 'node-1', behind('api')),
        ...[2, 3, 4].map((i) => replica(`wp-${i}`, `127.0.0.${i}`)),
      ],
    },
  });
  const other = await startHbone(t, id('wp'), (tunnel) => tunnel.accept().end('through'));
  const dead = await deadPort();
  const tunnels = new TunnelPool();
  t.after(() => tunnels.close());
  const own = svidOf(id('waypoint'));
  const tried: string[] = [];
  const dial = createDial(
    state,
    tunnels,
    () => own,
    defaultLimits,
    ({ ip }, timeoutMs) => {
      tried.push(ip);
      const port = ip === '127.0.0.4' ? other.port : dead;
      return connect({ ip: parseIp('127.0.0.1'), port }, timeoutMs);
    },
  );
  const clusters = new ClusterManager(state, dial, defaultLimits, () => undefined);
  t.after(() => clusters.drain());
  const endpoint = clusters.ofService(key('api'), 80)?.endpoints[0];
  assert.ok(endpoint?.via);
  for (let i = 0; i < 40; i++) {
    const stream = await dial(endpoint, client);
    const [bytes] = (await once(stream, 'data')) as [Buffer];
    assert.equal(bytes.toString(), 'through');
    stream.destroy();
  }
  assert.ok(
    tried.includes('127.0.0.2') && tried.includes('127.0.0.3'),
    'the unreachable replicas were tried',
  );
});

test('a failure of the local machine does not count against the endpoint', async () => {
  // The machine has no such address, so the kernel refuses to connect from it.
  const failure = await connect({ ip: parseIp('127.0.0.1'), port: 1 }, 1_000, '192.0.2.1').catch(
    (error: unknown) => error,
  );
  assert.ok(failure instanceof WeftError);
  assert.match(failure.message, /EADDRNOTAVAIL/);
  assert.equal(failure.source, 'internal');
  assert.equal(isEndpointFailure(failure), false);
  const dead = await connect({ ip: parseIp('127.0.0.1'), port: await deadPort() }, 1_000).catch(
    (error: unknown) => error,
  );
  assert.equal(isEndpointFailure(dead), true);
  assert.equal(isEndpointFailure(new Error('a bug')), false);
});

test('a peer that refuses the waypoint’s certificate is not counted as failed', () => {
  const refused = (code: string) =>
    new WeftError('WEFT_TUNNEL_TLS', 'TLS failed', {
      source: 'upstream',
      cause: Object.assign(new Error(code), { code }),
    });
  assert.equal(isEndpointFailure(refused('ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED')), false);
  assert.equal(isEndpointFailure(refused('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA')), false);
  assert.equal(isEndpointFailure(refused('ECONNRESET')), true);
});
