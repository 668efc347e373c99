import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CheckedPod, CheckedPolicy, CheckedService } from './objects.js';
import { policyFindings, type PolicyObjects } from './policies.js';

const enrolled = { metadata: { name: 'shop', labels: { 'weft.dev/mesh': 'enabled' } } };
const pod = (
  name: string,
  more: Partial<CheckedPod['spec']> = {},
  labels: Record<string, string> = {},
): CheckedPod => ({
  metadata: { name, namespace: 'shop', labels: { app: name, ...labels } },
  spec: { containers: [{ ports: [{ name: 'web', containerPort: 8080 }] }], ...more },
});
const service = (ports: CheckedService['spec']['ports']): CheckedService => ({
  metadata: { name: 'api', namespace: 'shop' },
  spec: { selector: { app: 'api' }, ...(ports ? { ports } : {}) },
});
const policy = (spec: Partial<CheckedPolicy['spec']>, namespace = 'shop'): CheckedPolicy => ({
  metadata: { name: 'p', namespace },
  spec: { action: 'ALLOW', rules: [], ...spec },
});
const api = { selector: { matchLabels: { app: 'api' } } };
const to = (target: { ports?: number[]; notPorts?: number[] }) => ({ rules: [{ to: [target] }] });

function check(spec: CheckedPolicy, more: Partial<PolicyObjects> = {}): string[] {
  const objects = { namespaces: [enrolled], pods: [pod('api')], workloads: [], services: [], ...more };
  const found = policyFindings({ policies: [spec], ...objects }, 'weft-system');
  for (const { help } of found) assert.ok(help);
  return found.map(({ level, what }) => `${level} ${what}`);
}
const none = (found: readonly string[]) => assert.deepEqual(found, []);
function one(found: readonly string[], expected: RegExp): void {
  assert.equal(found.length, 1, found.join('\n'));
  assert.match(found[0] ?? '', expected);
}

test('a policy for enrolled pods with ports that they declare gives no finding', () => {
  none(check(policy({ ...api, ...to({ ports: [8080] }) })));
  none(check(policy(to({ ports: [8080] }))));
  none(check(policy({ ...api, action: 'DENY', ...to({ notPorts: [8080] }) })));
});

test('a finding for a policy that selects no pod suggests existing labels', () => {
  const select = (matchLabels: Record<string, string>) => policy({ selector: { matchLabels } });
  one(
    check(select({ app: 'apu' })),
    /^warn AccessPolicy shop\/p selects no pod of namespace shop; did you mean app=api\?$/,
  );
  one(check(select({ ap: 'api' })), /did you mean the label app\?$/);
  one(check(select({ app: 'warehouse' })), /; pods there have app=api$/);
  one(check(select({ tier: 'x' })), /selects no pod of namespace shop$/);
  const ended = { ...pod('job'), status: { phase: 'Succeeded' } };
  one(check(select({ app: 'job' }), { pods: [ended] }), /selects no pod/);
  none(check(policy({}), { pods: [] }));
  one(check(policy(api, 'weft-system'), { pods: [] }), /^warn AccessPolicy weft-system\/p selects no pod$/);
  none(check(policy(api, 'weft-system')));
  none(
    check(select({ app: 'vm' }), {
      workloads: [{ metadata: { name: 'vm', namespace: 'shop', labels: { app: 'vm' } }, spec: {} }],
    }),
  );
});

test('a policy whose pods are not in the mesh is not enforced', () => {
  const plain = [{ metadata: { name: 'shop' } }];
  one(check(policy(api), { namespaces: plain }), /^fail .*none of the 1 pods that it selects is in the mesh/);
  one(check(policy(api), { pods: [pod('api', { hostNetwork: true })] }), /^fail .*is not enforced/);
  one(
    check(policy({}), { pods: [pod('api'), pod('db', {}, { 'weft.dev/mesh': 'disabled' })] }),
    /^warn .*not enforced for 1 of the 2 pods/,
  );
  none(check(policy(api), { namespaces: plain, pods: [pod('api', {}, { 'weft.dev/mesh': 'enabled' })] }));
});

test("a policy's ports are pod ports: a Service port that differs is found, and fails if it leaves something open", () => {
  const services = [service([{ port: 80, targetPort: 'web' }])];
  const of = (action: string, target: Parameters<typeof to>[0]): string[] =>
    check(policy({ ...api, action, ...to(target) }), { services });
  one(
    of('ALLOW', { ports: [80] }),
    /^warn .*ports 80 is the port of Service shop\/api, whose pods listen on 8080: it allows nothing there/,
  );
  one(of('DENY', { ports: [80] }), /^fail .*it denies nothing there/);
  one(of('ALLOW', { notPorts: [80] }), /^fail .*it excludes nothing there/);
  one(of('DENY', { notPorts: [80] }), /^warn /);
  none(of('DENY', { ports: [8080] }));
  // A Service of another namespace does not select these pods.
  const far = {
    ...services[0],
    metadata: { name: 'api', namespace: 'far' },
    spec: { selector: { app: 'api' }, ports: [{ port: 80, targetPort: 9 }] },
  };
  one(check(policy({ ...api, ...to({ ports: [80] }) }), { services: [far] }), /declares port 80/);
});

test('a port that no selected pod declares is reported, unless a pod declares no ports', () => {
  one(
    check(policy({ ...api, ...to({ ports: [8080, 9090] }) })),
    /^warn .*none of the selected pods declares port 9090 \(ports\); known ports: 8080$/,
  );
  none(check(policy({ ...api, ...to({ ports: [9090] }) }), { pods: [pod('api', { containers: [{}] })] }));
  none(
    check(policy({ ...api, ...to({ ports: [9090] }) }), {
      services: [service([{ port: 90, targetPort: 9090 }])],
    }),
  );
  const ports = [{ containerPort: 9090 }];
  const sidecar = pod('api', { initContainers: [{ restartPolicy: 'Always', ports }] });
  none(check(policy({ ...api, ...to({ ports: [9090] }) }), { pods: [sidecar] }));
  // An init container that terminates does not listen while the pod's applications run.
  const setup = pod('api', { initContainers: [{ ports }] });
  one(check(policy({ ...api, ...to({ ports: [9090] }) }), { pods: [setup] }), /declares port 9090/);
  const udp = pod('api', {
    containers: [{ ports: [{ containerPort: 8080 }, { containerPort: 9090, protocol: 'UDP' }] }],
  });
  one(check(policy({ ...api, ...to({ ports: [9090] }) }), { pods: [udp] }), /declares port 9090/);
  // A Service port that differs is reported even so, but only as a warning: the pod may listen on both.
  one(
    check(policy({ ...api, action: 'DENY', ...to({ ports: [80] }) }), {
      pods: [pod('api', { containers: [{}] })],
      services: [service([{ port: 80, targetPort: 8080 }])],
    }),
    /^warn .*whose pods listen on 8080/,
  );
});

test('the ports of a policy with targetRefs are Service ports; for a DENY pod ports also count', () => {
  const services = [service([{ port: 80, targetPort: 8080 }])];
  const of = (action: string, port: number): string[] =>
    check(policy({ action, targetRefs: [{ name: 'api' }], ...to({ ports: [port] }) }), { services });
  none(of('ALLOW', 80));
  none(of('DENY', 8080));
  one(of('ALLOW', 8080), /^warn .*none of its target Services has port 8080; known ports: 80$/);
  one(of('DENY', 81), /has port 81/);
});
