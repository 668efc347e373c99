/**
 * Nodes without pods, in a process of their own: each a discovery stream with its own connection and token, as an agent has it.
 * Told on stdin, a JSON line each: {"do":"connect"|"disconnect"|"reset"|"report"}; answers likewise on stdout.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Client, credentials, Metadata, type ClientDuplexStream } from '@grpc/grpc-js';
import { decodeAddress } from '../../src/discovery/codec/address.js';
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../../src/discovery/gen/discovery.js';
import { grpcLimits, typeUrls } from '../../src/discovery/types.js';

const [target = '', rootFile = '', tokensFile = ''] = process.argv.slice(2);
const root = readFileSync(rootFile);
const tokens = JSON.parse(readFileSync(tokensFile, 'utf8')) as { node: string; token: string }[];
const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
/** A version label that the suite writes holds the time of writing. */
const stamp = /^t(\d+)$/;

interface FakeNode {
  client: Client;
  stream: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
  readonly answered: Set<string>;
}
const nodes = new Map<string, FakeNode>();
let delaysMs: number[] = [];
let resources = 0;
const wanted = Object.values(typeUrls);

function open(node: string, token: string): void {
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
  nodes.set(node, { client, stream, answered });
  const ask = (part: Partial<DeltaDiscoveryRequest>): void =>
    void stream.write(
      DeltaDiscoveryRequest.fromPartial({ node: { id: node, cluster: '', metadata: {} }, ...part }),
    );
  stream.on('data', (response: DeltaDiscoveryResponse) => {
    const first = !answered.has(response.typeUrl);
    answered.add(response.typeUrl);
    resources += response.resources.length;
    if (!first && response.typeUrl === typeUrls.address) {
      const now = Date.now();
      for (const { resource } of response.resources) {
        const decoded = decodeAddress(resource?.value ?? new Uint8Array());
        if (!decoded.ok || decoded.value.kind !== 'workload') continue;
        const at = stamp.exec(decoded.value.workload.canonicalRevision);
        if (at) delaysMs.push(now - Number(at[1]));
      }
    }
    ask({ typeUrl: response.typeUrl, responseNonce: response.nonce });
  });
  let over = false;
  const again = (): void => {
    if (over) return;
    over = true;
    client.close();
    if (nodes.get(node)?.client !== client) return;
    setTimeout(() => nodes.get(node)?.client === client && open(node, token), 100 + Math.random() * 400);
  };
  stream.on('error', again);
  stream.on('end', again);
  for (const typeUrl of wanted) ask({ typeUrl });
}

const commands: Readonly<Record<string, () => unknown>> = {
  connect: () => tokens.forEach(({ node, token }) => open(node, token)),
  disconnect: () => {
    for (const [node, { client, stream }] of [...nodes]) {
      nodes.delete(node);
      stream.cancel();
      client.close();
    }
  },
  reset: () => {
    delaysMs = [];
    resources = 0;
  },
  report: () => undefined,
};
createInterface({ input: process.stdin }).on('line', (line) => {
  const { do: what } = JSON.parse(line) as { do: string };
  commands[what]?.();
  const synced = [...nodes.values()].filter(({ answered }) => answered.size === wanted.length).length;
  const answer = { synced, resources, ...(what === 'report' ? { delaysMs } : {}) };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
