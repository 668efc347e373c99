/** Row 8 of docs/security.md: a control plane that is unavailable, slow, restarted, rolled back, or newer than this version. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { KubeConfig } from '@kubernetes/client-node';
import type { CompiledResource } from '../../control/compile/resource.js';
import { sleep, until } from '../../src/base/wait.js';
import { close, createApiServer, listen } from '../support/api-server.js';
import { issueToken } from '../support/tokens.js';
import { KubernetesSource } from '../../control/source/kubernetes.js';
import { readAddress } from '../../src/discovery/codec/address.js';
import { readAuthorization } from '../../src/discovery/codec/policy.js';
import { subscribe } from '../../src/discovery/subscription.js';
import { typeUrls } from '../../src/discovery/types.js';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { AuthorizationPolicy, PolicyKey, PolicyPath } from '../../src/model/policy.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { authorize } from '../../src/policy/authorize.js';
import { MeshState } from '../../src/state/store.js';
import { follow, startControl, type Closers, type Control } from './support/control.js';

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

const policy = (name: string, rules: string): string => `---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: ${name}, namespace: shop }
spec: { action: DENY, rules: ${rules} }
`;
const base = `---
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
kind: Namespace
metadata: { name: bank, labels: { weft.dev/mesh: enabled } }
---
kind: Pod
metadata: { name: api, namespace: shop, uid: u1, annotations: { weft.dev/netns: weft-a } }
spec: { nodeName: n1, serviceAccountName: api }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
kind: Pod
metadata: { name: ledger, namespace: bank, uid: u2, annotations: { weft.dev/netns: weft-b } }
spec: { nodeName: n1, serviceAccountName: ledger }
status: { podIPs: [{ ip: 10.0.0.2 }] }
`;
const closed = base + policy('closed', '[{ from: [{ identities: ["cluster.local/ns/bank/*"] }] }]');

/** A node's view of the mesh, built from the agent's parts. */
async function node(control: Pick<Control, 'target' | 'ca' | 'state'>) {
  const state = new MeshState();
  const seen = follow(closers, control, await issueToken(control.state, 'n1', 600), [
    subscribe(
      typeUrls.address,
      readAddress,
      (one) =>
        state.apply(one.kind === 'workload' ? { workloads: [one.workload] } : { services: [one.service] }),
      (removed) => state.apply({ removed }),
    ),
    subscribe(
      typeUrls.authorization,
      (name, bytes) => readAuthorization(name, bytes, 'weft-system'),
      (one) => state.apply({ policies: [one] }),
      (removedPolicies) => state.apply({ removedPolicies }),
    ),
  ]);
  await until('synced', 30_000, () => seen.synced);
  /** Whether bank's ledger may connect to a pod. */
  const admits = (namespace: string, pod: string): boolean => {
    const workload = state.workload(`Kubernetes//Pod/${namespace}/${pod}` as WorkloadUid);
    assert.ok(workload);
    return authorize(state.policiesFor(workload), {
      identity: parseSpiffeId('spiffe://cluster.local/ns/bank/sa/ledger'),
      sourceIp: parseIp('10.0.0.2'),
      destinationIp: parseIp('10.0.0.1'),
      destinationPort: 80,
    }).allowed;
  };
  return { ...seen, state, seen, admits, undecodable: () => seen.client.undecodable() };
}

/** A policy from a newer control plane, with a kind of path match that this version does not know. */
const newer = (name: string, action: AuthorizationPolicy['action']): CompiledResource => ({
  kind: 'policy',
  value: {
    key: `shop/${name}` as PolicyKey,
    name,
    namespace: 'shop',
    scope: 'namespace',
    services: [],
    action,
    dryRun: false,
    rules: [
      {
        clauses: [
          {
            matches: [
              {
                ...{ namespaces: [], notNamespaces: [], principals: [], notPrincipals: [], sourceIps: [] },
                ...{ notSourceIps: [], destinationIps: [], notDestinationIps: [], destinationPorts: [] },
                ...{ notDestinationPorts: [], serviceAccounts: [], notServiceAccounts: [] },
                http: {
                  ...{ methods: [], notMethods: [], notPaths: [], hosts: [], notHosts: [], headers: [] },
                  paths: [{ kind: 'glob', value: '/admin/**' } as unknown as PolicyPath],
                },
              },
            ],
          },
        ],
      },
    ],
  },
});

for (const action of ['allow', 'deny'] as const)
  test(`a policy that ${action}s by an unknown match does not open the workloads that it selects, is reported, and does not affect others`, async () => {
    const control = await startControl(closers, base);
    const one = await node(control);
    assert.ok(one.admits('shop', 'api'));
    control.update({ updated: [newer('strange', action)], removed: [] });
    await until('closed', 30_000, () => !one.admits('shop', 'api'));
    assert.ok(one.admits('bank', 'ledger'), 'another namespace is as it was');
    assert.deepEqual(one.undecodable(), [
      { type: 'Authorization', why: 'shop/strange: path match of an unknown kind' },
    ]);
    assert.deepEqual(one.seen.errors, ['shop/strange: path match of an unknown kind']);
    await until('the control plane receives the refusal', 30_000, () =>
      control.warnings.includes('node refused a resource'),
    );
    // A policy that is removed while the node is disconnected is removed at the node after the reconnect.
    control.server.stop();
    await until('disconnected', 30_000, () => one.seen.states.includes('disconnected'));
    assert.equal(one.admits('shop', 'api'), false, 'it stays closed meanwhile');
    await startControl(closers, base, { listen: control.target, state: control.state });
    await until('open again', 30_000, () => one.admits('shop', 'api'));
    assert.deepEqual(one.undecodable(), []);
  });

test('a known policy that is replaced by an unknown one does not stay in force', async () => {
  const control = await startControl(
    closers,
    base + policy('p', '[{ from: [{ identities: ["cluster.local/ns/x/*"] }] }]'),
  );
  const one = await node(control);
  assert.ok(one.admits('shop', 'api'));
  control.update({ updated: [newer('p', 'deny')], removed: [] });
  await until('closed', 30_000, () => !one.admits('shop', 'api'));
});

test('while the control plane is gone or silent, a node opens nothing and forgets nothing', async () => {
  const control = await startControl(closers, closed);
  const one = await node(control);
  assert.equal(one.admits('shop', 'api'), false);
  control.server.stop();
  // A silent control plane takes its place: it accepts connections and never responds.
  await startControl(closers, base, {
    listen: control.target,
    state: control.state,
    callerOfToken: () => new Promise(() => undefined),
  });
  await until('disconnected', 30_000, () => one.seen.states.includes('disconnected'));
  await sleep(2_000);
  assert.equal(one.admits('shop', 'api'), false);
  assert.ok(one.state.workload('Kubernetes//Pod/shop/api' as WorkloadUid));
});

test('while the control plane cannot check tokens, a node forgets nothing', async () => {
  const control = await startControl(closers, closed);
  const one = await node(control);
  control.server.stop();
  const next = await startControl(closers, base, {
    listen: control.target,
    state: control.state,
    callerOfToken: () => Promise.reject(new Error('the API server is away')),
  });
  await until('asked', 30_000, () => next.warnings.includes('a token could not be checked'));
  assert.equal(one.admits('shop', 'api'), false);
});

test('a closed workload stays closed during a restart of the control plane', async () => {
  const control = await startControl(closers, closed);
  const one = await node(control);
  let opened = 0;
  const watch = setInterval(() => (opened += one.admits('shop', 'api') ? 1 : 0), 1);
  control.server.stop();
  await until('disconnected', 30_000, () => one.seen.states.includes('disconnected'));
  const next = await startControl(closers, closed, { listen: control.target, state: control.state });
  await until('connected again', 30_000, () => next.server.streams > 0);
  await sleep(100);
  clearInterval(watch);
  assert.equal(opened, 0);
});

test('a replica without the API server does not roll back a node, and sends a new node the resources that it has', async () => {
  const control = await startControl(closers, closed);
  const one = await node(control);
  control.server.stop();
  // The replica does not have the policy.
  const old = await startControl(closers, base, {
    listen: control.target,
    state: control.state,
    stale: () => 'the API server says nothing',
  });
  await until('refused', 30_000, () =>
    old.warnings.includes('resources not sent to a node: they may be stale'),
  );
  await sleep(100);
  assert.equal(one.admits('shop', 'api'), false);
  assert.ok(old.limits.includes('control-stale'));
  const fresh = await node(old);
  assert.ok(fresh.state.workload('Kubernetes//Pod/shop/api' as WorkloadUid));
});

/** An API server that responds to lists with the results of `list`, and keeps watches open. */
async function apiServer(
  list: (path: string) => { items: object[]; version: string } | 'never',
): Promise<KubeConfig> {
  const server = createApiServer((request, response) => {
    const url = new URL(request.url ?? '/', 'https://x');
    response.setHeader('content-type', 'application/json');
    if (url.searchParams.get('watch') === 'true') return void response.flushHeaders();
    const found = list(url.pathname);
    if (found === 'never') return;
    response.end(
      JSON.stringify({ kind: 'XList', metadata: { resourceVersion: found.version }, items: found.items }),
    );
  });
  closers.push(() => close(server));
  return listen(server);
}

test('a starting control plane sends nothing until every kind has been listed, so no node gets a mesh without its policies', async () => {
  let silent = true;
  const config = await apiServer((path) =>
    silent && path.endsWith('/accesspolicies') ? 'never' : { items: [], version: '10' },
  );
  let changes = 0;
  let ready = false;
  const source = new KubernetesSource({
    config,
    onChanges: () => changes++,
    onRefused: () => undefined,
    onWatchError: () => undefined,
  });
  closers.push(() => source.stop());
  void source.start().then(() => (ready = true));
  await sleep(1_000);
  assert.deepEqual([ready, changes], [false, 0]);
  silent = false;
  source.stop();
});

test('a response of the API server that is not a list is not taken for an empty list', async () => {
  const server = createApiServer((_request, response) =>
    response.end(JSON.stringify({ kind: 'Status', metadata: { resourceVersion: '10' } })),
  );
  closers.push(() => close(server));
  const config = await listen(server);
  const why: string[] = [];
  let ready = false;
  const source = new KubernetesSource({
    config,
    onChanges: () => undefined,
    onRefused: () => undefined,
    onWatchError: (_kind, text) => why.push(text),
  });
  closers.push(() => source.stop());
  void source.start().then(() => (ready = true));
  await until('it is trouble', 30_000, () => why.some((text) => text.includes('is not a list')));
  assert.equal(ready, false);
});
