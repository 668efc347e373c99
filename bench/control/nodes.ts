/**
 * Nodes without pods, and waypoints, in a process of their own: each a discovery stream with its own connection and token.
 * Told on stdin, a JSON line each: {"do":"connect"|"disconnect"|"reset"|"report"}; answers likewise on stdout.
 */
import { readFileSync } from 'node:fs';
import net, { type TcpNetConnectOpts } from 'node:net';
import { createInterface } from 'node:readline';
import { Client, credentials, Metadata, type ClientDuplexStream } from '@grpc/grpc-js';
import { capabilitiesOf } from '../../src/discovery/capabilities.js';
import { decodeAddress } from '../../src/discovery/codec/address.js';
import { decodeRoute } from '../../src/discovery/codec/route.js';
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../../src/discovery/gen/discovery.js';
import { grpcLimits, typeUrls } from '../../src/discovery/types.js';

const [target = '', rootFile = '', tokensFile = ''] = process.argv.slice(2);
const root = readFileSync(rootFile);
const tokens = JSON.parse(readFileSync(tokensFile, 'utf8')) as Identity[];
const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
/** A version label, or the value of a header, that the suite writes holds the time of writing. */
const stamp = /^t(\d+)$/;
/** Types that agents and waypoints subscribe to (daemonset/discovery/subscriptions.ts, src/waypoint/discovery.ts). */
const wantedBy = {
  node: [
    typeUrls.address,
    typeUrls.authorization,
    typeUrls.nodePod,
    typeUrls.uncapturedPod,
    typeUrls.enrolledNamespace,
    typeUrls.trust,
  ],
  waypoint: [
    typeUrls.address,
    typeUrls.authorization,
    typeUrls.servicePolicy,
    typeUrls.route,
    typeUrls.trust,
  ],
} as const;

/** What the suite starts each stream with. */
export interface Identity {
  /** Unique: a node's name, or `waypoint:<namespace>`. */
  readonly name: string;
  readonly kind: keyof typeof wantedBy;
  readonly token: string;
}

interface FakeNode {
  readonly kind: Identity['kind'];
  client: Client;
  stream: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
  readonly answered: Set<string>;
}
const nodes = new Map<string, FakeNode>();
let delaysMs: number[] = [];
let routeDelaysMs: number[] = [];
let resources = 0;

/** Times of writing that a resource holds. */
function stampsOf(typeUrl: string, bytes: Uint8Array): number[] {
  const values: string[] = [];
  if (typeUrl === typeUrls.address) {
    const decoded = decodeAddress(bytes);
    if (decoded.ok && decoded.value.kind === 'workload')
      values.push(decoded.value.workload.canonicalRevision);
  } else if (typeUrl === typeUrls.route) {
    const decoded = decodeRoute(bytes);
    // The suite writes one stamp per object: the first of a route is that of all its rules.
    const [found] = decoded.ok
      ? decoded.value.rules.flatMap(({ matches }) =>
          matches.flatMap(({ headers }) => headers.map(({ value }) => value)),
        )
      : [];
    if (found !== undefined) values.push(found);
  }
  return values.flatMap((value) => stamp.exec(value)?.slice(1).map(Number) ?? []);
}

/** Each node has an address of its own: the control plane limits reviews of tokens by address. gRPC has no option for it. */
const connect = net.connect as (options: TcpNetConnectOpts, onConnected?: () => void) => net.Socket;
let connections = 0;
const capabilities = capabilitiesOf('bench');
const fromOwnAddress: typeof connect = (options, onConnected) => {
  const at = connections++ % tokens.length;
  return connect({ ...options, localAddress: `127.1.${at >> 8}.${at & 255}` }, onConnected);
};
net.connect = fromOwnAddress as typeof net.connect;

function open(identity: Identity): void {
  const { name: node, kind, token } = identity;
  const client = new Client(target, credentials.createSsl(root), {
    'grpc.max_receive_message_length': grpcLimits.messageBytesMax,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.ssl_target_name_override': 'weft-control.weft-system.svc',
  });
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  const stream = client.makeBidiStreamRequest(
    path,
    (message: DeltaDiscoveryRequest) => Buffer.from(DeltaDiscoveryRequest.encode(message).finish()),
    (bytes) => DeltaDiscoveryResponse.decode(bytes),
    metadata,
  );
  const answered = new Set<string>();
  nodes.set(node, { kind, client, stream, answered });
  const ask = (part: Partial<DeltaDiscoveryRequest>): void =>
    void stream.write(
      DeltaDiscoveryRequest.fromPartial({
        node: { id: node, cluster: '', metadata: kind === 'waypoint' ? capabilities : {} },
        ...part,
      }),
    );
  stream.on('data', (response: DeltaDiscoveryResponse) => {
    const first = !answered.has(response.typeUrl);
    answered.add(response.typeUrl);
    resources += response.resources.length;
    if (!first) {
      const now = Date.now();
      const delays = response.typeUrl === typeUrls.route ? routeDelaysMs : delaysMs;
      for (const { resource } of response.resources)
        for (const at of stampsOf(response.typeUrl, resource?.value ?? new Uint8Array()))
          delays.push(now - at);
    }
    ask({ typeUrl: response.typeUrl, responseNonce: response.nonce });
  });
  let over = false;
  const again = (): void => {
    if (over) return;
    over = true;
    client.close();
    if (nodes.get(node)?.client !== client) return;
    setTimeout(() => nodes.get(node)?.client === client && open(identity), 100 + Math.random() * 400);
  };
  stream.on('error', again);
  stream.on('end', again);
  for (const typeUrl of wantedBy[kind]) ask({ typeUrl });
}

const commands: Readonly<Record<string, () => unknown>> = {
  connect: () => tokens.forEach(open),
  disconnect: () => {
    for (const [node, { client, stream }] of [...nodes]) {
      nodes.delete(node);
      stream.cancel();
      client.close();
    }
  },
  reset: () => {
    delaysMs = [];
    routeDelaysMs = [];
    resources = 0;
  },
  report: () => undefined,
};
createInterface({ input: process.stdin }).on('line', (line) => {
  const { do: what } = JSON.parse(line) as { do: string };
  commands[what]?.();
  const synced = [...nodes.values()].filter(
    ({ kind, answered }) => answered.size === wantedBy[kind].length,
  ).length;
  const answer = { synced, resources, ...(what === 'report' ? { delaysMs, routeDelaysMs } : {}) };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
