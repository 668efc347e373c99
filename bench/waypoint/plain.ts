/**
 * The waypoint's proxy without tunnels: plain connections in, plain connections out, for comparison with proxies that do the same. A
 * bench program: the waypoint itself has no such port.
 *
 *   node dist/bench/waypoint/plain.js CONFIG.json
 */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { FairLimit } from '../../src/base/fair-limit.js';
import { InjectedFaults } from '../../src/waypoint/filters/injected-faults.js';
import { RateLimits } from '../../src/waypoint/rate-limit/rate-limits.js';
import type { SocketAddress } from '../../src/model/address.js';
import { parseSpiffeId, type SpiffeId } from '../../src/model/identity.js';
import { clientOf } from '../../src/waypoint/listener/client.js';
import { serveConnection } from '../../src/waypoint/listener/connection.js';
import type { ConnectionContext } from '../../src/waypoint/worker/context.js';
import { connect } from '../../src/waypoint/cluster/dial.js';
import { defaultLimits } from '../../src/waypoint/limits.js';
import { mirrorBlockBytes } from '../../src/waypoint/upstream/mirror-buffer.js';
import { ByDestination } from '../../src/waypoint/worker/by-destination.js';
import { WaypointState } from '../../src/waypoint/state/waypoint-state.js';
import { WaypointMetrics } from '../../src/waypoint/telemetry/metrics.js';
import { ClusterManager } from '../../src/waypoint/cluster/cluster-manager.js';
import type { Dial } from '../../src/waypoint/cluster/connection-pool.js';
import { namespace, trustDomain } from './identities.js';
import { parseWeftConfig, type PlainConfig } from './config.js';
import { JwtTokens } from '../../src/waypoint/jwt/jwt-tokens.js';
import { Shedding } from '../../src/waypoint/shedding/shedding.js';

const config = parseWeftConfig(readFileSync(process.argv[2] ?? '', 'utf8')) as PlainConfig;
const state = new WaypointState('', config.service);
// It carries what names it as its waypoint, and nothing else.
const waypoint = { kind: 'hostname', service: config.service, hbonePort: 15008 } as const;
const services = (config.mesh.services ?? []).map((one) =>
  one.key === config.service ? { ...one, waypoint } : one,
);
state.apply({
  mesh: { ...config.mesh, services },
  routes: config.routes,
  servicePolicies: config.servicePolicies ?? [],
});
const metrics = new WaypointMetrics(() => state.view);
const dial: Dial = ({ target }) => connect(target, defaultLimits.connectTimeoutMsMax);
const context: ConnectionContext = {
  state,
  clusters: new ClusterManager(state, dial, defaultLimits, () => undefined),
  limits: defaultLimits,
  mergeSlashes: true,
  exchanges: new ByDestination(),
  connections: new ByDestination(),
  // One client asks for all of it here.
  connectionShares: new FairLimit(4 * defaultLimits.connectionsMax),
  requestShares: new FairLimit(4 * defaultLimits.requestsMax),
  rateLimits: RateLimits.inMemory(),
  faults: new InjectedFaults(),
  shedding: new Shedding(),
  jwt: new JwtTokens(() => undefined),
  mirrorShares: new FairLimit(defaultLimits.mirrorsMax),
  mirrorBufferShares: new FairLimit(defaultLimits.mirrorBuffersBytesMax / mirrorBlockBytes),
  onMirrorEnd: (result) => metrics.mirrored.inc({ result }),
  onRequestEnd: (record) => metrics.record(record),
  onLimitReached: () => undefined,
  onUnreadable: () => undefined,
  onDetected: () => undefined,
  onRelay: () => undefined,
  onAction: () => undefined,
  onUpstreamEvent: () => undefined,
};
/** The identity of the client at an address: how limits of one client find it without certificates. */
const identityOf = (ip: string): SpiffeId | undefined =>
  config.identities && parseSpiffeId(`spiffe://${trustDomain}/ns/${namespace}/sa/at-${ip}`);
const service = state.view.service(config.service);
if (!service) throw new Error(`${config.service} is not in the configuration`);
net
  .createServer({ noDelay: true }, (socket) => {
    const address = { ip: socket.remoteAddress as SocketAddress['ip'], port: socket.remotePort ?? 0 };
    const served = serveConnection(context, () => socket, clientOf(identityOf(address.ip), address), {
      kind: 'service',
      service,
      port: config.servicePort,
      dialed: config.listen,
    });
    if (!served) socket.destroy();
  })
  .listen(config.listen.port, config.listen.ip, () => console.log('ready'));
process.on('SIGTERM', () => process.exit(0));
