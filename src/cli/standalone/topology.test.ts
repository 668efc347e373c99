import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readTopology, type Topology } from './topology.js';

function topologyOf(files: Readonly<Record<string, string>>): Topology {
  const dir = mkdtempSync(join(tmpdir(), 'weft-topology-'));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
    return readTopology(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}
const node = (name: string): string =>
  `{ apiVersion: v1, kind: Node, metadata: { name: ${name}, annotations: { weft.dev/netns: weft-${name} } },
    status: { addresses: [{ type: InternalIP, address: 192.168.90.1 }] } }`;

test('a testbed is read as the control plane reads it: Lists and JSON are read, other API groups are ignored', () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', annotations: { 'weft.dev/netns': 'weft-web' } },
    spec: { nodeName: 'a' },
    status: { podIPs: [{ ip: '10.244.1.1' }] },
  };
  const { nodes, waypoints } = topologyOf({
    'a.yaml': `apiVersion: v1\nkind: List\nitems:\n- ${node('a')}\n`,
    'b.json': JSON.stringify(pod, undefined, '\t'),
    'c.yaml': `---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: x }\nspec: { gatewayClassName: weft-waypoint }
---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: wp }\nspec: { gatewayClassName: weft-waypoint }
---\napiVersion: example.org/v1\nkind: Node\nmetadata: { name: other }\n`,
  });
  assert.deepEqual(
    nodes.map(({ name, pods }) => [name, pods.map((one) => one.name)]),
    [['a', ['web']]],
  );
  assert.deepEqual(waypoints, [{ namespace: 'default', name: 'wp' }]);
});

test('an error in a manifest names the file and the line', () => {
  assert.throws(
    () => topologyOf({ 'a.yaml': `${node('a')}\n---\nkind: [` }),
    /a\.yaml:\d+: .*weft check -f /,
  );
  assert.throws(() => topologyOf({}), /has no Node .*docs\/standalone\.md/);
});
