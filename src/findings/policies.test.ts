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

test('a policy that selects pods of the mesh by ports that they declare is as it should be', () => {
  none(check(policy({ ...api, ...to({ ports: [8080] }) })));
  none(check(policy(to({ ports: [8080] }))));
  none(check(policy({ ...api, action: 'DENY', ...to({ notPorts: [8080] }) })));
});

test('a policy that selects nobody says what is there', () => {
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

test("ports of a policy are the pods': a Service's that is another one is found, and what it leaves open fails", () => {
  const services = [service([{ port: 80, targetPort: 'web' }])];
  const of = (action: string, target: Parameters<typeof to>[0]): string[] =>
    check(policy({ ...api, action, ...to(target) }), { services });
  one(
    of('ALLOW', { ports: [80] }),
    /^warn .*ports 80 is the port of Service shop\/api, whose pods listen on 8080: it allows nothing there/,
  );
  one(of('DENY', { ports: [80] }), /^fail .*it denies nothing there/);
  one(of('ALLOW', { notPorts: [80] }), /^fail .*it leaves out nothing there/);
  one(of('DENY', { notPorts: [80] }), /^warn /);
  none(of('DENY', { ports: [8080] }));
  // Another namespace's Service says nothing of these pods.
  const far = {
    ...services[0],
    metadata: { name: 'api', namespace: 'far' },
    spec: { selector: { app: 'api' }, ports: [{ port: 80, targetPort: 9 }] },
  };
  one(check(policy({ ...api, ...to({ ports: [80] }) }), { services: [far] }), /declares port 80/);
});

test('a port that no selected pod declares is named, unless a pod declares none', () => {
  one(
    check(policy({ ...api, ...to({ ports: [8080, 9090] }) })),
    /^warn .*no pod that it selects declares port 9090 \(ports\); they have 8080$/,
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
  // An init container that ends does not listen while the pod's applications run.
  const setup = pod('api', { initContainers: [{ ports }] });
  one(check(policy({ ...api, ...to({ ports: [9090] }) }), { pods: [setup] }), /declares port 9090/);
  const udp = pod('api', {
    containers: [{ ports: [{ containerPort: 8080 }, { containerPort: 9090, protocol: 'UDP' }] }],
  });
  one(check(policy({ ...api, ...to({ ports: [9090] }) }), { pods: [udp] }), /declares port 9090/);
  // What it certainly is not is named all the same, and does not fail: the pod may listen on both.
  one(
    check(policy({ ...api, action: 'DENY', ...to({ ports: [80] }) }), {
      pods: [pod('api', { containers: [{}] })],
      services: [service([{ port: 80, targetPort: 8080 }])],
    }),
    /^warn .*whose pods listen on 8080/,
  );
});

test("ports of a policy with targetRefs are the Service's, and of a DENY the pods' too", () => {
  const services = [service([{ port: 80, targetPort: 8080 }])];
  const of = (action: string, port: number): string[] =>
    check(policy({ action, targetRefs: [{ name: 'api' }], ...to({ ports: [port] }) }), { services });
  none(of('ALLOW', 80));
  none(of('DENY', 8080));
  one(of('ALLOW', 8080), /^warn .*none of the Services that it names has port 8080; they have 80$/);
  one(of('DENY', 81), /has port 81/);
});
