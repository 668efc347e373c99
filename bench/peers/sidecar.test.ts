import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inboundPort, outboundPort, proxyGroup, readStats, redirectRules, sidecarConfig } from './sidecar.js';

const credentials = { chainPem: 'CHAIN', keyPem: 'KEY', rootsPem: 'ROOTS' };
interface Listener {
  readonly name: string;
  readonly filter_chains: readonly {
    filter_chain_match: { destination_port: number };
    transport_socket?: object;
  }[];
  readonly default_filter_chain: { readonly transport_socket?: object };
}
const parse = (
  text: string,
): { static_resources: { listeners: Listener[]; clusters: { name: string; transport_socket?: object }[] } } =>
  JSON.parse(text) as ReturnType<typeof parse>;

test('nothing goes in or out between two sidecars but under mutual TLS', () => {
  const { listeners, clusters } = parse(
    sidecarConfig({ credentials, peers: 'spiffe://cluster.local/ns/x/', httpPorts: [80, 81] }),
  ).static_resources;
  const inbound = listeners.find(({ name }) => name === 'inbound');
  // Who dials the listener itself comes to nobody.
  const own = inbound?.filter_chains.find(
    (chain) => chain.filter_chain_match.destination_port === inboundPort,
  );
  assert.match(JSON.stringify(own), /"cluster":"nowhere"/);
  assert.ok(!JSON.stringify(clusters.find(({ name }) => name === 'nowhere')).includes('endpoint'));
  const chains = inbound?.filter_chains.filter((chain) => chain !== own) ?? [];
  assert.deepEqual(
    chains.map((chain) => chain.filter_chain_match.destination_port),
    [80, 81],
  );
  for (const chain of [...chains, inbound?.default_filter_chain])
    assert.match(JSON.stringify(chain?.transport_socket), /"require_client_certificate":true/);
  for (const { name, transport_socket } of clusters) {
    if (name.startsWith('outbound'))
      assert.match(JSON.stringify(transport_socket), /spiffe:\/\/cluster.local\/ns\/x\//);
    else assert.equal(transport_socket, undefined);
  }
});

test('names files in the place of keys where they are mounted', () => {
  const text = sidecarConfig({
    credentials: { chainFile: '/c', keyFile: '/k', rootsFile: '/r' },
    peers: 'spiffe://cluster.local/',
    httpPorts: [],
  });
  assert.match(text, /"private_key":\{"filename":"\/k"\}/);
  assert.ok(!text.includes('inline_string'));
});

test("redirects all but the proxy's own connections", () => {
  const lines = redirectRules().split('\n');
  const own = lines.findIndex((line) => line.includes(`--gid-owner ${proxyGroup} -j RETURN`));
  const out = lines.findIndex((line) =>
    line.endsWith(`-A OUTPUT -p tcp -j REDIRECT --to-ports ${outboundPort}`),
  );
  assert.ok(own > 0 && own < out);
  assert.ok(lines.some((line) => line === `-A PREROUTING -p tcp -j REDIRECT --to-ports ${inboundPort}`));
});

test('reads counters of /stats, whatever else is there', () => {
  const stats = readStats('listener.0.0.0.0_15006.ssl.handshake: 3\nhist: P0(1,2)\n\nx: y\n');
  assert.equal(stats.get('listener.0.0.0.0_15006.ssl.handshake'), 3);
  assert.equal(stats.size, 1);
});
