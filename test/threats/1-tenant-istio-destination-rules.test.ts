/** Rows 1 and 2 of docs/security.md: a DestinationRule acts on Services of its own namespace only. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile, type Compiler } from '../../control/compile/compile.js';
import { remarksText } from '../../control/dialects/remarks.js';
import { objectKey } from '../../control/objects/object-key.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { parseManifests } from '../../control/source/parse.js';
import { domain } from '../support/mesh.js';
import { bankAndEvil } from '../support/manifests.js';

const rule = (host: string, more = ''): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: harm, namespace: evil }
spec:
  host: '${host}'
  trafficPolicy: { connectionPool: { tcp: { maxConnections: 1 } }, tls: { mode: MUTUAL }, proxyProtocol: {} }
  subsets: [{ name: v1, labels: { version: v1 } }]
${more}`;
function compiled(...manifests: readonly string[]): Compiler {
  const { objects, closed } = parseManifests('x', [bankAndEvil, ...manifests].join('\n---\n'));
  return compile([...objects, ...closed], { trustDomain: domain, rootsVersion: '1' });
}
const textOf = (compiler: Compiler): string[] =>
  [...compiler.all()]
    .map((one) => JSON.stringify(one, (_key, value: unknown) => (value instanceof Map ? [...value] : value)))
    .sort();

const hosts = [
  'api.bank.svc.cluster.local',
  '*.bank.svc.cluster.local',
  '*.local',
  '*',
  'API.bank.svc.cluster.local',
];

test('a tenant, also as a client, changes nothing of the connections to a Service of another namespace by a rule', () => {
  const before = textOf(compiled());
  for (const host of hosts) {
    assert.deepEqual(textOf(compiled(rule(host))), before, host);
    assert.deepEqual(
      textOf(compiled(rule(host, '  unknown: true'))),
      before,
      `${host}, which cannot be read`,
    );
    assert.deepEqual(textOf(compiled(rule(host, '  exportTo: [bank]'))), before, `${host}, exported`);
  }
});

/** CPU time since then: other processes do not change it as they change the time of a clock. */
const cpuMs = (began: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1_000;
};

test('thousands of rules of a tenant do not raise the cost of a change of another namespace', () => {
  const rules = Array.from({ length: 6_000 }, (_, i): MeshObject => {
    const host = hosts[i % 4] ?? '';
    const metadata = { name: `harm-${i}`, namespace: 'evil' };
    return { kind: 'DestinationRule', metadata, spec: { host, subsets: [{ name: `v${i}` }] } };
  });
  const cost = (compiler: Compiler): number => {
    const object = compiler.service('bank', 'api');
    assert.ok(object);
    const began = process.cpuUsage();
    for (let i = 0; i < 200; i++) {
      const changed = { ...object, metadata: { ...object.metadata, annotations: { i: String(i) } } };
      compiler.apply(new Map([[objectKey(changed), changed]]));
    }
    return cpuMs(began);
  };
  const many = compiled();
  const began = process.cpuUsage();
  many.apply(new Map(rules.map((one) => [objectKey(one), one])));
  const coldMs = cpuMs(began);
  assert.ok(coldMs < 5_000, `${coldMs} ms`);
  const [alone, beside] = [cost(compiled()), cost(many)];
  assert.ok(beside < 4 * alone + 200, `${beside} ms beside the rules, ${alone} ms without`);
});

test('the subsets of a Service, each of which is an entry of its pods for every node, are limited', () => {
  const subsets = (from: number): string =>
    Array.from({ length: 100 }, (_, i) => `{ name: s${from + i} }`).join(', ');
  const own = (name: string, from: number): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name}, namespace: bank }
spec: { host: api, subsets: [${subsets(from)}] }`;
  const compiler = compiled(own('a', 0), own('b', 100));
  const [pod] = [...compiler.all()].flatMap((one) =>
    one.kind === 'workload' && one.value.namespace === 'bank' ? [one.value] : [],
  );
  assert.equal(pod?.services.size, 1 + 128);
  const second = compiler.object(
    objectKey({ kind: 'DestinationRule', metadata: { name: 'b', namespace: 'bank' } } as MeshObject),
  );
  assert.ok(second);
  assert.match(remarksText(compiler.remarksOf(second)) ?? '', /subsets: s128 and 71 more are not in force/);
});
