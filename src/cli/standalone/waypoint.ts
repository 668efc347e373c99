/** Waypoints of a testbed. On Kubernetes the control plane renders a waypoint for a Gateway. Here the testbed creates the namespace, the program and the objects. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { WeftError } from '../../base/errors.js';
import { until } from '../../base/wait.js';
import { isV6, parseIp, type IpAddress } from '../../model/address.js';
import { rateLimiterPort } from '../../model/rate-limit.js';
import { adminGet, adminPort } from '../admin.js';
import { programs, sh } from '../run.js';
import { controlPort, type Testbed } from './testbed.js';

export interface WaypointReplica {
  readonly namespace: string;
  /** Name of the Gateway. */
  readonly name: string;
  /** Node of the replica. Default: the first node. */
  readonly node?: string;
  /** Number of the replica within its Gateway. */
  readonly replica?: number;
  readonly workers?: number;
  readonly flags?: readonly string[];
}

const replicaHost = 200;
const readyMsMax = 90_000;

const renderedDir = (state: string): string => join(state, 'rendered');
export const waypointProcess = ({ namespace, name, replica = 0 }: WaypointReplica): string =>
  `waypoint-${namespace}-${name}-${replica}`;
export const waypointNetns = ({ name, replica = 0 }: WaypointReplica): string => `weft-wp-${name}-${replica}`;

/** Host `200 + n` of the pod blocks of the node. Testbeds number their own pods from below. */
function addressesOf(testbed: Testbed, node: string, index: number): IpAddress[] {
  const like = testbed.topology.nodes.find(({ name }) => name === node)?.pods[0]?.addresses ?? [];
  if (like.length === 0)
    throw new WeftError(
      'WEFT_BED',
      `node ${node} has no pod, so the testbed has no address block for its waypoint: add a Pod on this node`,
    );
  return like.map((ip) =>
    parseIp(
      isV6(ip)
        ? ip.replace(/[^:]*$/, (replicaHost + index).toString(16))
        : ip.replace(/\d+$/, String(replicaHost + index)),
    ),
  );
}

function objectsOf(
  place: WaypointReplica,
  node: string,
  addresses: readonly IpAddress[],
  ready: boolean,
): string {
  const { namespace, name, replica = 0 } = place;
  const labels = { 'gateway.networking.k8s.io/gateway-name': name };
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${name}-${replica}`,
      namespace,
      labels: { ...labels, app: name },
      annotations: { 'weft.dev/netns': waypointNetns(place) },
    },
    spec: { nodeName: node, serviceAccountName: name },
    status: {
      podIPs: addresses.map((ip) => ({ ip })),
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    },
  };
  return stringify(pod);
}

function serviceOf({ namespace, name }: WaypointReplica): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: {
      selector: { 'gateway.networking.k8s.io/gateway-name': name },
      clusterIP: 'None',
      ports: [{ name: 'hbone', port: 15008 }],
    },
  });
}

/** Starts a replica and publishes it as ready once it is. Throws as Testbed.start, and WEFT_TIMEOUT. */
export async function startWaypoint(testbed: Testbed, place: WaypointReplica): Promise<void> {
  const node = place.node ?? testbed.topology.nodes[0]?.name ?? '';
  const netns = waypointNetns(place);
  const process_ = waypointProcess(place);
  const dir = renderedDir(testbed.state);
  mkdirSync(dir, { recursive: true });
  const addresses = addressesOf(testbed, node, place.replica ?? 0);
  if (!testbed.hasNetns(netns)) testbed.addPod(node, { name: process_, netns, addresses });
  const publish = (ready: boolean): void => {
    writeFileSync(join(dir, `${process_}.yaml`), objectsOf(place, node, addresses, ready));
    writeFileSync(join(dir, `waypoint-${place.namespace}-${place.name}.yaml`), serviceOf(place));
  };
  publish(false);
  const token = join(testbed.state, `token-${process_}`);
  const full = `${place.namespace}/${place.name}`;
  writeFileSync(
    token,
    sh(process.execPath, [programs.control, 'token', '--state', testbed.controlState(), '--waypoint', full]),
    { mode: 0o600 },
  );
  testbed.keepWaypoint(full, netns, process_);
  testbed.start(process_, netns, process.execPath, [
    programs.waypoint,
    '--gateway',
    full,
    '--node',
    node,
    '--control',
    `${testbed.topology.controlIp}:${controlPort}`,
    '--root',
    join(testbed.controlState(), 'root-cert.pem'),
    '--token',
    token,
    // The service may be started later, or never: nothing connects to it before a policy needs it.
    '--rate-limiter',
    `${testbed.topology.controlIp}:${rateLimiterPort}`,
    '--client-certificates',
    clientCertificatesOf(testbed, place),
    '--workers',
    String(place.workers ?? 1),
    '--access-log',
    accessLogOf(testbed, place),
    ...(place.flags ?? []),
  ]);
  await until(`the waypoint ${full} is ready`, readyMsMax, async () => {
    testbed.died(process_);
    try {
      return (JSON.parse(await adminGet(netns, adminPort, '/status')) as { ready: boolean }).ready;
    } catch {
      return false;
    }
  });
  publish(true);
}

/** The client certificates of a namespace's waypoints: a directory for each, with tls.crt and tls.key. It may be made later. */
export const clientCertificatesOf = (testbed: Testbed, { namespace }: WaypointReplica): string =>
  join(testbed.state, 'client-certificates', namespace);

export const accessLogOf = (testbed: Testbed, place: WaypointReplica): string =>
  join(testbed.state, `${waypointProcess(place)}.requests.log`);

/** Removes a replica as a rolling update does: first marks it as not ready, so that it gets no new connections, then ends it. Resolves when it has ended. */
export async function stopWaypoint(
  testbed: Testbed,
  place: WaypointReplica,
  signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM',
): Promise<void> {
  const process_ = waypointProcess(place);
  const file = join(renderedDir(testbed.state), `${process_}.yaml`);
  if (signal === 'SIGTERM') {
    const node = place.node ?? testbed.topology.nodes[0]?.name ?? '';
    writeFileSync(file, objectsOf(place, node, addressesOf(testbed, node, place.replica ?? 0), false));
    testbed.dropWaypoint(process_);
    await testbed.stop(process_, signal, 45_000);
    rmSync(file, { force: true });
  } else await testbed.stop(process_, signal);
}
