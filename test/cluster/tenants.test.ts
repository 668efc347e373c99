/**
 * Attacks of the admin of one namespace on another on a real cluster. The attacker has the rights of Kubernetes' ClusterRole `admin` and of all
 * of Weft's and the Gateway API's kinds in their own namespace (rows A1 to A4 of the table in docs/security.md). Expects a cluster without Weft.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import {
  applyText,
  connectionRecords,
  gatewayKinds,
  here,
  installChart,
  kubectl,
  releaseCluster,
  takeCluster,
  weft,
  weftImage,
} from '../support/cluster.js';

const bank = (...args: string[]): Promise<string> => kubectl('-n', 'bank', ...args);
const mallory = ['--as=mallory', '-n', 'evil'];
const evil = (...args: string[]): Promise<string> => kubectl(...mallory, ...args);
const evilApply = (text: string): Promise<string> => applyText(text, ...mallory);

/** A program that prints `STATUS POD`, or why there was no response. */
const get = (url: string): string => `
const call = require('http').get('${url}', { agent: false, timeout: 4000 }, (r) => {
  let text = '';
  r.on('data', (d) => (text += d));
  r.on('end', () => { let pod = ''; try { pod = JSON.parse(text).pod; } catch {} console.log(r.statusCode, pod); });
});
call.on('timeout', () => call.destroy(new Error('timeout')));
call.on('error', (e) => console.log('refused:', e.message));`;
async function ask(who: string, url: string): Promise<string> {
  const [namespace = '', name = ''] = who.split('/');
  return kubectl(
    '-n',
    namespace,
    'exec',
    name.includes(':') ? name : `deploy/${name}`,
    '--',
    'node',
    '-e',
    get(url),
  );
}
const vaultIp = (): Promise<string> =>
  bank('get', 'pod', '-l', 'app=vault', '-o', 'jsonpath={.items[0].status.podIP}');

/** Asserts that the bank's own traffic is unchanged and that no other client is served. Called after each attack. */
async function bankIsUntouched(): Promise<void> {
  const ip = await vaultIp();
  const service = await bank('get', 'service', 'vault', '-o', 'jsonpath={.spec.clusterIP}');
  for (const url of ['http://vault.bank/', `http://${ip}:8080/`]) {
    for (let i = 0; i < 3; i++) assert.equal(await ask('bank/teller', url), '200 vault', `teller, ${url}`);
    assert.doesNotMatch(await ask('evil/thief', url), /^\d/, `thief, ${url}`);
  }
  await until("the teller's connections are recorded", 20_000, async () => {
    const dialed = new Set([`${service}:80`, `${ip}:8080`]);
    const ours = (await connectionRecords(20)).filter(
      (line) =>
        line.direction === 'outbound' &&
        line.source.pod?.startsWith('teller-') === true &&
        dialed.has(line.dialled ?? ''),
    );
    for (const { destination, path, service: named } of ours.filter(({ code }) => code === undefined)) {
      assert.equal(destination.identity, 'spiffe://cluster.local/ns/bank/sa/vault');
      assert.match(path, /^(hbone|local|kernel|splice)/);
      assert.ok(named === undefined || named === '' || named === 'vault.bank.svc.cluster.local', named);
    }
    return ours.length > 0;
  });
}

interface Conditioned {
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason: string;
      readonly message: string;
    }[];
  };
}
/** Waits for a condition. Resolves with its reason and message. */
async function condition(what: string, type: string, status: string): Promise<string> {
  let last: unknown;
  return until(`${what} has condition ${type} ${status}`, 30_000, async () => {
    const { status: of } = JSON.parse(await evil('get', what, '-o', 'json')) as Conditioned;
    last = of?.conditions;
    const found = of?.conditions?.find((one) => one.type === type);
    return found?.status === status && `${found.reason}: ${found.message}`;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
}

before(async () => {
  await takeCluster();
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
  await installChart();
  await kubectl('apply', '-f', join(here, 'manifests', 'tenants.yaml'));
  await applyText(`apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: tellers, namespace: bank }
spec:
  action: ALLOW
  rules: [{ from: [{ serviceAccounts: [bank/teller] }] }]
`);
  for (const name of ['vault', 'teller']) await bank('rollout', 'status', `deploy/${name}`, '--timeout=90s');
  await evil('rollout', 'status', 'deploy/thief', '--timeout=90s');
  await until('the policy is in force', 30_000, async () => {
    const [teller, thief] = [
      await ask('bank/teller', 'http://vault.bank/'),
      await ask('evil/thief', 'http://vault.bank/'),
    ];
    return teller === '200 vault' && !/^\d/.test(thief);
  });
});
after(async () => {
  await kubectl('delete', 'gateway', '--all', '-n', 'evil').catch(() => '');
  await kubectl('delete', 'gateway', '--all', '-n', 'bank').catch(() => '');
  await releaseCluster('bank', 'evil');
});

test('before the attacks the bank serves only its teller', bankIsUntouched);

test('A1: a Service with hand-written endpoints puts no waypoint before a pod of another namespace, and impersonates no client', async () => {
  await evilApply(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint }
spec:
  gatewayClassName: weft-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: v1
kind: Service
metadata: { name: trap, labels: { weft.dev/waypoint: waypoint } }
spec:
  ports: [{ name: http, port: 80, targetPort: 8080, appProtocol: http }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: trap-1, labels: { kubernetes.io/service-name: trap } }
addressType: IPv4
endpoints: [{ addresses: [${await vaultIp()}], conditions: { ready: true } }]
ports: [{ name: http, port: 8080 }]
`);
  await sleep(3_000);
  await bankIsUntouched();
  await condition('gateway/waypoint', 'Programmed', 'True');
  await bankIsUntouched();
  // A request to the attacker's own Service goes through its own waypoint: the bank sees the waypoint's identity, not the teller's.
  assert.doesNotMatch(await ask('evil/thief', 'http://trap.evil/'), /^200/);
  await evil('delete', 'service/trap', 'endpointslice/trap-1', 'gateway/waypoint');
});

/** Path of the network namespace of a process of the pod, as a lucky tenant could guess it. */
function netnsOf(podUid: string): string {
  const inCgroup = new RegExp(podUid.replaceAll('-', '[-_]'));
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (inCgroup.test(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))) return `/proc/${pid}/ns/net`;
    } catch {
      // The process has ended.
    }
  }
  return '/proc/1/ns/net';
}

test('A2: neither a Workload nor an annotation takes over a running pod of another namespace', async () => {
  const [ip, node, uid] = (
    await bank(
      'get',
      'pod',
      '-l',
      'app=vault',
      '-o',
      'jsonpath={.items[0].status.podIP} {.items[0].spec.nodeName} {.items[0].metadata.uid}',
    )
  ).split(' ');
  const netns = netnsOf(uid ?? '');
  const workload = `apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: { name: takeover }
spec: { node: ${node}, addresses: [${ip}], netns: ${netns} }
`;
  await evilApply(workload).then(
    () => condition('workload/takeover', 'Accepted', 'False'),
    (error: unknown) => assert.match(String(error), /netns/),
  );
  await bankIsUntouched();
  // Now only the node and the address are invalid.
  await evilApply(workload.replace(netns, 'somewhere'));
  assert.match(await condition('workload/takeover', 'Accepted', 'False'), /node|address/i);
  await bankIsUntouched();
  await evilApply(`apiVersion: v1
kind: Pod
metadata: { name: changeling, annotations: { weft.dev/netns: ${netns} } }
spec:
  nodeName: ${node}
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
    - { name: main, image: '${weftImage}:0.1.0', command: [node, -e, 'setInterval(() => 0, 1e6)'] }
`);
  await evil('wait', 'pod/changeling', '--for=condition=Ready', '--timeout=60s');
  await bankIsUntouched();
  assert.doesNotMatch(
    await kubectl('-n', 'evil', 'exec', 'changeling', '--', 'node', '-e', get('http://vault.bank/')),
    /^\d/,
  );
  await evil('delete', 'workload/takeover', 'pod/changeling');
  await bankIsUntouched();
  assert.equal(
    await bank(
      'get',
      'pod',
      '-l',
      'app=vault',
      '-o',
      `jsonpath={.items[0].status.conditions[?(@.type=="weft.dev/captured")].status}`,
    ),
    'True',
  );
});

test('A3: an ExternalService applies to its own namespace only and claims no address of the cluster, and a conflict is visible', async () => {
  const thief = await evil('get', 'pod', '-l', 'app=thief', '-o', 'jsonpath={.items[0].status.podIP}');
  const api = await kubectl(
    '-n',
    'default',
    'get',
    'service',
    'kubernetes',
    '-o',
    'jsonpath={.spec.clusterIP}',
  );
  const external = (name: string, addresses: string): string => `---
apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: { name: ${name} }
spec: { host: ${name}.example.com, addresses: [${addresses}], ports: [{ port: 80, targetPort: 8080 }, { port: 443, targetPort: 8080 }, { port: 8080 }], endpoints: [{ address: ${thief} }] }
`;
  await evilApply(external('grab', `${await vaultIp()}, ${api}, 198.51.100.7`));
  assert.match(await condition('externalservice/grab', 'Accepted', 'False'), /[Aa]ddress/);
  await bankIsUntouched();
  // The address outside of the cluster leads to its endpoint, but only for clients of its own namespace.
  await until(
    'its own namespace is served',
    15_000,
    async () => (await ask('evil/thief', 'http://198.51.100.7/')) === '200 thief',
  );
  assert.doesNotMatch(await ask('bank/teller', 'http://198.51.100.7/'), /^200/);
  // The API server expects TLS: a plaintext request to its address must not reach the thief.
  for (const who of ['bank/teller', 'evil/thief'])
    assert.notEqual(await ask(who, `http://${api}:443/`), '200 thief', who);
  // If two claim one address, the older is in force. Once it is deleted, the younger is in force.
  await sleep(1_100);
  await evilApply(external('second', '198.51.100.7'));
  assert.match(await condition('externalservice/second', 'Accepted', 'False'), /[Aa]ddress/);
  await evil('delete', 'externalservice/grab');
  await condition('externalservice/second', 'Accepted', 'True');
  await until(
    'the younger ExternalService is in force',
    15_000,
    async () => (await ask('evil/thief', 'http://198.51.100.7/')) === '200 thief',
  );
  await evil('delete', 'externalservice/second');
});

test("A4: another namespace's waypoint is used only with its consent, and parameters of a waypoint set only placement and size", async () => {
  await weft('waypoint', 'apply', '-n', 'bank');
  await evilApply(`apiVersion: v1
kind: Service
metadata: { name: leech, labels: { weft.dev/waypoint: waypoint, weft.dev/waypoint-namespace: bank } }
spec:
  selector: { app: thief }
  ports: [{ name: http, port: 80, targetPort: 8080, appProtocol: http }]
`);
  await until(
    'without consent the Service is closed',
    20_000,
    async () => !/^\d/.test(await ask('evil/thief', 'http://leech.evil/')),
  );
  await bank(
    'patch',
    'gateway',
    'waypoint',
    '--type=json',
    '-p',
    '[{"op":"add","path":"/spec/listeners/0/allowedRoutes","value":{"namespaces":{"from":"All"}}}]',
  );
  await until(
    'with consent the Service is served',
    30_000,
    async () => (await ask('evil/thief', 'http://leech.evil/')) === '200 thief',
  );
  await bankIsUntouched();
  await evil('delete', 'service/leech');

  await evilApply(`apiVersion: v1
kind: ConfigMap
metadata: { name: mine }
data:
  deployment: |
    spec: { template: { spec: { hostNetwork: true, containers: [{ name: waypoint, image: evil.example.com/waypoint, securityContext: { privileged: true } }] } } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: rogue }
spec:
  gatewayClassName: weft-waypoint
  infrastructure: { parametersRef: { group: '', kind: ConfigMap, name: mine } }
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
`);
  assert.match(await condition('gateway/rogue', 'Accepted', 'False'), /InvalidParameters/);
  assert.doesNotMatch(
    await evil('get', 'deployments,pods', '-o', 'yaml'),
    /evil\.example\.com|hostNetwork: true|privileged: true/,
  );
  await bankIsUntouched();
  await evil('delete', 'gateway/rogue', 'configmap/mine');
});
