/** On a real cluster: the one that KUBECONFIG names, else one of this machine (test/cluster/up), which is taken down again. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import {
  applyText,
  given,
  here,
  kubectl,
  packNodeImage,
  run,
  state,
  weft,
  weftImage,
} from '../support/cluster.js';

const image = weftImage;
const shop = (...args: string[]): Promise<string> => kubectl('-n', 'shop', ...args);
const system = (...args: string[]): Promise<string> => kubectl('-n', 'weft-system', ...args);
const chart = ['daemonset/chart', '-n', 'weft-system', '--set', `image.repository=${image}`];
/** Agents, and those that drain while their successors are there. */
const eitherAgent = 'app in (weft-agent,weft-agent-draining)';
const apply = (text: string): Promise<string> => applyText(text);

const files = mkdtempSync(join(tmpdir(), 'weft-cluster-'));

interface Said {
  readonly good: number;
  readonly bad: number;
  readonly last: string;
  readonly errors: readonly string[];
}
const get = (url: string): string =>
  `require('http').get('${url}', (a) => a.pipe(process.stdout)).on('error', (e) => console.log('refused:', e.message))`;
const said = async (): Promise<Said> =>
  JSON.parse(await shop('exec', 'deploy/web', '--', 'node', '-e', get('http://localhost:9000/'))) as Said;
/** What the client has had since `before`, once there are `count` more answers. */
async function since(before: Said, count = 50): Promise<Said> {
  return until(`${count} more answers`, 30_000, async () => {
    const now = await said();
    return (
      now.good - before.good >= count && { ...now, good: now.good - before.good, bad: now.bad - before.bad }
    );
  });
}

async function lines(seconds: number): Promise<ConnectionRecord[]> {
  const pods = (await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'name')).split('\n');
  const logs = await Promise.all(pods.map((pod) => system('logs', pod, `--since=${seconds}s`)));
  return (
    logs
      .flatMap((log) => log.split('\n'))
      // The last may not be whole yet.
      .filter((line) => line.includes('"path":') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as ConnectionRecord)
  );
}
const ofWeb = (record: ConnectionRecord): boolean =>
  record.direction === 'outbound' && record.source.pod?.startsWith('web-') === true;

before(async () => {
  if (given === undefined) await run(join(here, 'up'), '--nodes', '2');
  await packNodeImage();
  await run(join(here, 'weft-image'), `${image}:0.1.0`);
  await kubectl('apply', '-f', join(here, 'manifests', 'apps.yaml'));
  await shop('rollout', 'status', 'deploy/api', 'deploy/web', '--timeout=90s');
});
after(async () => {
  rmSync(files, { recursive: true, force: true });
  await run('helm', 'uninstall', 'weft', '-n', 'weft-system', '--ignore-not-found').catch(() => '');
  if (given === undefined) await run(join(here, 'down'));
  else await kubectl('delete', 'namespace', 'shop', '--ignore-not-found');
});

test('helm install brings the mesh up, on every node, without privileged containers', async () => {
  await run('helm', 'install', 'weft', ...chart, '--create-namespace', '--wait', '--timeout', '120s');
  // Helm is content with a DaemonSet as soon as no more than maxUnavailable of it is missing.
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=60s');
  const nodes = (await kubectl('get', 'nodes', '-o', 'name')).split('\n').length;
  const ready = await system('get', 'ds/weft-agent', '-o', 'jsonpath={.status.numberReady}');
  assert.equal(Number(ready), nodes);
  assert.doesNotMatch(await system('get', 'pods', '-o', 'yaml'), /privileged: true/);
});

test('helm test asks every agent', async () => {
  const said = await run('helm', 'test', 'weft', '-n', 'weft-system', '--logs', '--timeout', '60s');
  assert.match(said, /Phase: +Succeeded/);
  for (const node of (await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].metadata.name}')).split(' '))
    assert.match(said, new RegExp(`^${node}: ready$`, 'm'));
});

test('the agents may not ask the API server for anything', async () => {
  const may = await system('auth', 'can-i', '--list', '--as=system:serviceaccount:weft-system:weft-agent');
  assert.doesNotMatch(may, /secrets|pods|nodes|configmaps/);
});

const shopIsEnrolled = (): Promise<string> =>
  kubectl('wait', 'namespace/shop', '--for=condition=weft.dev/Enrolled', '--timeout=90s');

test('a label takes running pods in under load: no request fails, and what was plain is under mutual TLS, or joined on its node', async () => {
  const before = await said();
  await shop('label', 'namespace', 'shop', 'weft.dev/mesh=enabled');
  await until('both ways are seen', 20_000, async () => {
    const paths = new Set((await lines(3)).filter(ofWeb).map(({ path }) => path));
    return paths.has('hbone') && paths.has('local');
  });
  const { bad, errors } = await since(before);
  assert.equal(bad, 0, errors.join('\n'));
  // In its first minute what the other node has not enrolled yet is plain.
  await shopIsEnrolled();
  await until('nothing is plain any more', 20_000, async () => {
    const seen = (await lines(2)).filter(ofWeb);
    return seen.length > 0 && seen.every(({ destination }) => destination.identity !== 'unknown');
  });
  for (const { source, destination, service } of (await lines(2)).filter(ofWeb)) {
    assert.equal(source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
    assert.equal(destination.identity, 'spiffe://cluster.local/ns/shop/sa/api');
    assert.equal(service, 'api.shop.svc.cluster.local');
  }
  const restarts = await shop(
    'get',
    'pods',
    '-o',
    'jsonpath={.items[*].status.containerStatuses[0].restartCount}',
  );
  assert.match(restarts, /^[0 ]+$/);
});

test('in strict mode probes pass, and a pod outside of the mesh is refused', async () => {
  await kubectl('label', 'namespace', 'shop', 'weft.dev/mode=strict');
  await shopIsEnrolled();
  const before = await said();
  const args = [
    'run',
    'outsider',
    '--image=docker.io/testcluster/node:1',
    '--restart=Never',
    '--command',
    '--',
  ];
  await kubectl('-n', 'default', ...args, 'node', '-e', 'setTimeout(() => 0, 1e6)');
  try {
    await kubectl('-n', 'default', 'wait', 'pod/outsider', '--for=condition=Ready', '--timeout=30s');
    const ips = (await shop('get', 'pod', '-l', 'app=api', '-o', 'jsonpath={.items[*].status.podIP}')).split(
      ' ',
    );
    for (const ip of ips) {
      const answer = await kubectl(
        '-n',
        'default',
        'exec',
        'outsider',
        '--',
        'node',
        '-e',
        get(`http://${ip}:8080/`),
      );
      assert.match(answer, /^refused:/, ip);
    }
    // Longer than it takes three probes to fail.
    await sleep(5_000);
    assert.match(
      await shop(
        'get',
        'pod',
        '-l',
        'app=api',
        '-o',
        'jsonpath={.items[*].status.containerStatuses[0].ready}',
      ),
      /^(true ?)+$/,
    );
    const { bad, errors } = await since(before);
    assert.equal(bad, 0, errors.join('\n'));
  } finally {
    await kubectl('-n', 'default', 'delete', 'pod', 'outsider', '--now', '--wait=false');
  }
});

test('a hundred pods that connect with their first breath, all at once: every one under mutual TLS', async () => {
  const count = 100;
  const began = Date.now();
  const get = `require('http').get('http://api.shop/', (a) => a.on('data', () => 0).on('end', () => process.exit(0))).on('error', (e) => { console.log(e.message); process.exit(1); })`;
  await apply(`apiVersion: apps/v1
kind: Deployment
metadata: { name: race, namespace: shop }
spec:
  replicas: ${count}
  selector: { matchLabels: { app: race } }
  template:
    metadata: { labels: { app: race } }
    spec:
      serviceAccountName: web
      terminationGracePeriodSeconds: 0
      automountServiceAccountToken: false
      initContainers:
        - name: connect
          image: docker.io/testcluster/node:1
          command: [node, -e, ${JSON.stringify(get)}]
      containers: [{ name: stay, image: docker.io/testcluster/pause:1 }]
`);
  try {
    await shop('rollout', 'status', 'deploy/race', '--timeout=240s');
    // Strict mode refuses plaintext: an init container that was too early would have failed, and been started again.
    const restarts = await shop(
      'get',
      'pod',
      '-l',
      'app=race',
      '-o',
      'jsonpath={.items[*].status.initContainerStatuses[0].restartCount}',
    );
    assert.deepEqual([...new Set(restarts.split(' '))], ['0']);
    const seen = new Map(
      (await lines(Math.ceil((Date.now() - began) / 1000) + 5))
        .filter(({ direction, source }) => direction === 'outbound' && source.pod?.startsWith('race-'))
        .map((line) => [line.source.pod, line]),
    );
    assert.equal(seen.size, count);
    for (const { path, source, destination } of seen.values()) {
      assert.ok(['hbone', 'local', 'kernel'].includes(path), path);
      assert.equal(source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
      assert.equal(destination.identity, 'spiffe://cluster.local/ns/shop/sa/api');
    }
  } finally {
    await shop('delete', 'deploy', 'race', '--wait=false');
  }
  await until(
    'they are gone',
    120_000,
    async () => (await shop('get', 'pod', '-l', 'app=race', '-o', 'name')) === '',
  );
});

const denyWeb = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-web, namespace: shop }
spec: { action: DENY, selector: { matchLabels: { app: api } }, rules: [{ from: [{ serviceAccounts: [shop/web] }] }] }
`;
test('an AccessPolicy denies within seconds, on both ways, and no longer once it is gone', async () => {
  await apply(denyWeb);
  await until('nothing gets through', 15_000, async () => {
    const before = await said();
    await sleep(500);
    const now = await said();
    return now.good === before.good && now.bad > before.bad;
  });
  const denied = (await lines(3)).filter(({ policy }) => policy === 'shop/no-web');
  assert.ok(denied.length > 0);
  await shop('delete', 'accesspolicy', 'no-web');
  await since(await said());
});

test('a policy that is wrong is refused as it is applied, by the field that is wrong', async () => {
  await assert.rejects(apply(denyWeb.replace('shop/web', 'web')), /serviceAccounts\[0\]/);
  await assert.rejects(apply(denyWeb.replace('DENY', 'MAYBE')), /spec\.action/);
});

test('once connection tracking has forgotten the time before the mesh, the kernel carries what stays on a node: no request fails', async () => {
  const before = await said();
  await until('the kernel carries', 180_000, async () =>
    (await lines(2)).filter(ofWeb).some(({ path }) => path === 'kernel'),
  );
  const { bad, errors } = await since(before, 500);
  assert.equal(bad, 0, errors.join('\n'));
});

test('a rolled control plane is not felt', async () => {
  // What the agents hold against a destination that just failed is over.
  await sleep(1_500);
  const before = await said();
  await system('rollout', 'restart', 'deploy/weft-control');
  await system('rollout', 'status', 'deploy/weft-control', '--timeout=90s');
  const { bad, errors } = await since(before);
  const why = (await lines(8)).filter((line) => line.ended !== 'finished').slice(-5);
  assert.equal(bad, 0, `${errors.join('\n')}\n${JSON.stringify(why)}`);
});

const target = 'https://weft-control.weft-system.svc:15012';
const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const ask = (token: string): Promise<string> =>
  shop(
    'exec',
    'deploy/web',
    '--',
    'node',
    '-e',
    `const c = require('http2').connect('${target}', { rejectUnauthorized: false });
const r = c.request({ ':method': 'POST', ':path': '${path}', 'content-type': 'application/grpc', te: 'trailers', authorization: 'Bearer ${token}' });
const seen = (h) => { if (h['grpc-status'] !== undefined) { console.log('status', h['grpc-status']); process.exit(); } };
r.on('response', seen); r.on('trailers', seen); r.on('error', () => 0); setTimeout(() => { console.log('status none'); process.exit(); }, 10000); r.write(Buffer.alloc(5));`,
  );
const unauthenticated = 'status 16';

test("another account's token, and one of another audience, get no certificate and no discovery", async () => {
  const token = (account: string, audience: string): Promise<string> =>
    system('create', 'token', account, `--audience=${audience}`);
  assert.equal(await ask(await token('weft-control', 'istio-ca')), unauthenticated);
  assert.equal(await ask(await token('weft-agent', 'other')), unauthenticated);
  // Made by hand, so bound to no pod: it says nothing of a node.
  assert.equal(await ask(await token('weft-agent', 'istio-ca')), unauthenticated);
  assert.equal(await ask('x'), unauthenticated);
});

test('new agents take the pods over as they are: no request fails', async () => {
  const before = await said();
  await system('rollout', 'restart', 'ds/weft-agent');
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=120s');
  await sleep(2_000);
  const { bad, errors } = await since(before);
  assert.equal(bad, 0, errors.join('\n'));
  const paths = new Set((await lines(2)).filter(ofWeb).map(({ path }) => path));
  assert.deepEqual([...paths].sort(), ['hbone', 'kernel']);
});

test('while no agent is there, new pods of the mesh wait and say why, others start; then they are in it from the first', async () => {
  const select = (value: string): Promise<string> =>
    system(
      'patch',
      'ds',
      'weft-agent',
      '--type=json',
      '-p',
      `[{"op":"${value === '' ? 'remove' : 'add'}","path":"/spec/template/spec/nodeSelector/weft.dev~1away"${value === '' ? '' : `,"value":"${value}"`}}]`,
    );
  const pod = (name: string, namespace: string): string => `---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: app
      image: docker.io/testcluster/node:1
      command: [node, -e, "require('http').get('http://api.shop/', { agent: false }, (a) => a.pipe(process.stdout)).on('error', (e) => console.log('refused:', e.message)); setTimeout(() => 0, 1e6)"]
`;
  await select('yes');
  await until(
    'no agent is there',
    60_000,
    async () => (await system('get', 'pod', '-l', eitherAgent, '-o', 'name')) === '',
  );
  try {
    await apply(pod('late', 'shop') + pod('other', 'default'));
    await kubectl('-n', 'default', 'wait', 'pod/other', '--for=condition=Ready', '--timeout=30s');
    const why = await until('the reason is an event of the pod', 30_000, async () => {
      const events = await shop(
        'get',
        'events',
        '--field-selector',
        'involvedObject.name=late',
        '-o',
        'jsonpath={.items[*].message}',
      );
      return events.includes('pods of namespace shop do not start outside of the mesh') && events;
    });
    assert.match(why, /the agent of this node does not answer/);
    assert.equal(await shop('get', 'pod', 'late', '-o', 'jsonpath={.status.phase}'), 'Pending');
  } finally {
    await select('');
    await system('rollout', 'status', 'ds/weft-agent', '--timeout=120s');
  }
  await shop('wait', 'pod/late', '--for=condition=Ready', '--timeout=90s');
  assert.match(await until('it was answered', 20_000, async () => shop('logs', 'late')), /^api-/);
  const first = (await lines(60)).filter(
    ({ direction, source }) => direction === 'outbound' && source.pod === 'late',
  );
  assert.deepEqual(
    first.map(({ destination }) => destination.identity),
    ['spiffe://cluster.local/ns/shop/sa/api'],
  );
  await shop('delete', 'pod', 'late', '--now');
  await kubectl('-n', 'default', 'delete', 'pod', 'other', '--now');
});

/** Ends what test/cluster/up started, without a word, as a crash would. */
function crash(name: string): void {
  const pid = Number(readFileSync(join(state, 'pid', name), 'utf8').split(' ')[0]);
  process.kill(pid, 'SIGKILL');
}

test('an API server that crashes and comes back is not felt, and what changes afterwards is heard', async (t) => {
  if (given !== undefined) return t.diagnostic('not on a cluster that is given');
  const before = await said();
  crash('kube-apiserver');
  await sleep(5_000);
  await run(join(here, 'up'), '--nodes', '2');
  const { bad, errors } = await since(before);
  assert.equal(bad, 0, errors.join('\n'));
  await until('a new policy is in force', 60_000, async () => {
    await apply(denyWeb).catch(() => undefined);
    const then = await said();
    await sleep(500);
    return (await said()).good === then.good;
  });
  await shop('delete', 'accesspolicy', 'no-web');
  await until('and gone', 60_000, async () => {
    const then = await said();
    await sleep(500);
    return (await said()).good > then.good;
  });
});

test('an agent that is killed: nothing is plain meanwhile, and afterwards all is as it was', async () => {
  const began = Date.now();
  const agents = async (): Promise<{ name: string; ready: boolean }[]> => {
    const found = JSON.parse(await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'json')) as {
      items: { metadata: { name: string }; status: { conditions?: { type: string; status: string }[] } }[];
    };
    return found.items.map(({ metadata, status }) => ({
      name: metadata.name,
      ready: status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true,
    }));
  };
  const killed = await agents();
  await system('delete', 'pod', ...killed.map(({ name }) => name), '--force', '--grace-period=0');
  await until('others are ready', 120_000, async () => {
    const now = await agents();
    return (
      now.length === killed.length &&
      now.every(({ name, ready }) => ready && !killed.some((former) => former.name === name))
    );
  });
  await until('requests are answered again', 30_000, async () => {
    const then = await said();
    await sleep(300);
    return (await said()).good > then.good;
  });
  const before = await said();
  const { bad, errors } = await since(before, 200);
  assert.equal(bad, 0, errors.join('\n'));
  const seconds = Math.ceil((Date.now() - began) / 1000);
  const plain = (await lines(seconds)).filter((line) => ofWeb(line) && line.path === 'plain');
  assert.deepEqual(plain, []);
});

test('a node that loses everything at once, as by a reboot: its pods come back in the mesh, none outside of it before', async (t) => {
  if (given !== undefined) return t.diagnostic('not on a cluster that is given');
  const socket = join(state, 'node2', 'containerd.sock');
  const ctr = (...args: string[]): Promise<string> => run('ctr', '-a', socket, '-n', 'k8s.io', ...args);
  const began = Date.now();
  crash('kubelet-2');
  const tasks = (await ctr('tasks', 'ls', '-q')).split('\n').filter(Boolean);
  await Promise.all(tasks.map((task) => ctr('tasks', 'delete', '-f', task).catch(() => '')));
  crash('containerd-2');
  rmSync(socket);
  const inNode = (...args: string[]): Promise<string> =>
    run('nsenter', `--mount=${join(state, 'mnt', 'node2')}`, ...args);
  await inNode('rm', '-rf', '/sys/fs/bpf/weft', '/run/weft');
  const uids = JSON.parse(
    await shop('get', 'pod', '-o', 'json', '--field-selector', 'spec.nodeName=node2'),
  ) as {
    items: { metadata: { name: string }; status: { podIPs: { ip: string }[] } }[];
  };
  const addressesBefore = new Map(
    uids.items.map(({ metadata, status }) => [metadata.name, status.podIPs[0]?.ip]),
  );
  await run(join(here, 'up'), '--nodes', '2');
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=120s');
  await until('pods of the node run anew, captured and ready', 120_000, async () => {
    const { items } = JSON.parse(
      await shop('get', 'pod', '-o', 'json', '--field-selector', 'spec.nodeName=node2'),
    ) as {
      items: {
        metadata: { name: string };
        status: { podIPs?: { ip: string }[]; conditions: { type: string; status: string }[] };
      }[];
    };
    return items.every(
      ({ metadata, status }) =>
        status.podIPs?.[0]?.ip !== addressesBefore.get(metadata.name) &&
        ['Ready', 'weft.dev/captured'].every((type) =>
          status.conditions.some((one) => one.type === type && one.status === 'True'),
        ),
    );
  });
  // What the other agents hold against a destination that just failed is over.
  await sleep(1_500);
  const before = await said();
  const { bad, errors } = await since(before, 100);
  assert.equal(bad, 0, errors.join('\n'));
  const seconds = Math.ceil((Date.now() - began) / 1000);
  const plain = (await lines(seconds)).filter(
    ({ path, source }) => path === 'plain' && source.namespace === 'shop',
  );
  assert.deepEqual(plain, []);
});

test('the token of an agent whose pod is gone gets nothing, once the answer of before is forgotten', async () => {
  const agent = (
    await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'jsonpath={.items[0].metadata.name}')
  ).trim();
  const read = "process.stdout.write(require('fs').readFileSync('/var/run/weft/token/token', 'utf8').trim())";
  const token = await system('exec', agent, '--', 'node', '-e', read);
  assert.equal(await ask(token), 'status none', 'it is good while its pod is there');
  await system('delete', 'pod', agent);
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=120s');
  assert.equal(
    await until('it is refused', 60_000, async () => (await ask(token)) === unauthenticated && 'refused'),
    'refused',
  );
});

test("the CA is replaced by one of Istio's layout, an intermediate under another root, in three steps: no request fails", async () => {
  const openssl = (...args: string[]): Promise<string> => run('openssl', ...args);
  const at = (name: string): string => join(files, name);
  const text = (name: string): string => readFileSync(at(name), 'utf8');
  writeFileSync(
    at('ext'),
    'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectAltName=URI:spiffe://cluster.local\n',
  );
  for (const name of ['root', 'intermediate'])
    await openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at(`${name}.key`));
  await openssl('req', '-new', '-key', at('root.key'), '-subj', '/O=shop/CN=root', '-out', at('root.csr'));
  await openssl(
    'x509',
    '-req',
    '-in',
    at('root.csr'),
    '-signkey',
    at('root.key'),
    '-days',
    '30',
    '-extfile',
    at('ext'),
    '-out',
    at('root.crt'),
  );
  await openssl(
    'req',
    '-new',
    '-key',
    at('intermediate.key'),
    '-subj',
    '/O=shop/CN=intermediate',
    '-out',
    at('intermediate.csr'),
  );
  await openssl(
    'x509',
    '-req',
    '-in',
    at('intermediate.csr'),
    '-CA',
    at('root.crt'),
    '-CAkey',
    at('root.key'),
    '-CAcreateserial',
    '-days',
    '20',
    '-extfile',
    at('ext'),
    '-out',
    at('intermediate.crt'),
  );
  await openssl('pkcs8', '-topk8', '-nocrypt', '-in', at('intermediate.key'), '-out', at('intermediate.pem'));
  const old = Buffer.from(
    await system('get', 'secret', 'weft-ca', '-o', 'jsonpath={.data.root-cert\\.pem}'),
    'base64',
  ).toString();
  const patch = (data: Record<string, string>): Promise<string> =>
    system('patch', 'secret', 'weft-ca', '-p', JSON.stringify({ stringData: data }));
  const trusted = async (): Promise<number[]> => {
    const pods = (await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'name')).split('\n');
    const read =
      "console.log(require('fs').readFileSync('/var/run/weft/root/root-cert.pem', 'utf8').split('BEGIN').length - 1)";
    return Promise.all(pods.map(async (pod) => Number(await system('exec', pod, '--', 'node', '-e', read))));
  };
  const before = await said();
  await patch({ 'root-cert.pem': `${old.trim()}\n${text('root.crt')}` });
  await until('every agent trusts both', 180_000, async () =>
    (await trusted()).every((count) => count === 2),
  );
  await patch({ 'ca-cert.pem': text('intermediate.crt'), 'ca-key.pem': text('intermediate.pem') });
  await sleep(20_000);
  await patch({ 'root-cert.pem': text('root.crt') });
  await until('every agent trusts the new one alone', 180_000, async () =>
    (await trusted()).every((count) => count === 1),
  );
  const { bad, errors } = await since(before, 200);
  assert.equal(bad, 0, errors.join('\n'));
  const findings = JSON.parse(await weft('check', '--json')) as { level: string; what: string }[];
  assert.deepEqual(
    findings.filter(({ level }) => level === 'fail'),
    [],
  );
});

test('weft status and weft check say what there is, without a finding that fails', async () => {
  const status = await weft('status');
  assert.match(status, /^control plane +2 of 2 ready/);
  for (const node of (await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].metadata.name}')).split(' '))
    assert.match(
      status,
      new RegExp(`^${node} +ready +in sync +(\\d+) of \\1 .*first ends in .* in its place`, 'm'),
    );
  assert.match(await weft('status', '--all'), /kube-system\/coredns-\S+ +node\d +namespace-not-enrolled/);
  const findings = JSON.parse(await weft('check', '--json')) as { level: string; what: string }[];
  assert.deepEqual(
    findings.filter(({ level }) => level === 'fail'),
    [],
  );
});

test('weft check finds a NetworkPolicy that keeps tunnels out, and says what to add', async () => {
  const policy = (ports: string): string => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: only-http, namespace: shop }
spec: { podSelector: {}, policyTypes: [Ingress], ingress: [{ ports: [${ports}] }] }
`;
  await apply(policy('{ port: 8080 }'));
  await assert.rejects(weft('check'), (error: { stdout: string }) => {
    assert.match(error.stdout, /FAIL {2}NetworkPolicy shop\/only-http .* 15008\n +.*add \{ port: 15008 \}/);
    return true;
  });
  await apply(policy('{ port: 8080 }, { port: 15008 }'));
  assert.doesNotMatch(await weft('check'), /only-http/);
  await shop('delete', 'networkpolicy', 'only-http');
});

test('what is in the mesh is said on the objects: pods, policies, the roots in each namespace', async () => {
  const jsonpath = (condition: string): string =>
    `jsonpath={.items[*].status.conditions[?(@.type=="${condition}")].status}`;
  assert.match(await shop('get', 'pods', '-o', jsonpath('weft.dev/captured')), /^(True ?)+$/);
  await apply(denyWeb.replace('no-web', 'other').replace('shop/web', 'shop/nobody'));
  assert.equal(
    await until('the policy has a status', 20_000, () =>
      shop('get', 'accesspolicy', '-o', jsonpath('Accepted')),
    ),
    'True',
  );
  await shop('delete', 'accesspolicy', 'other');
  assert.match(await shop('get', 'configmap', 'weft-ca-root-cert', '-o', 'yaml'), /BEGIN CERTIFICATE/);
});

test('helm upgrade under load: no request fails, and the CRDs are of the chart again', async () => {
  await kubectl(
    'patch',
    'crd',
    'accesspolicies.weft.dev',
    '--type=json',
    '-p',
    '[{"op":"remove","path":"/spec/versions/0/additionalPrinterColumns"}]',
  );
  const before = await said();
  await run(
    'helm',
    'upgrade',
    'weft',
    ...chart,
    '--set',
    'control.resources.requests.cpu=50m',
    '--wait',
    '--timeout',
    '180s',
  );
  const { bad, errors } = await since(before);
  assert.equal(bad, 0, errors.join('\n'));
  assert.match(
    await kubectl('get', 'crd', 'accesspolicies.weft.dev', '-o', 'yaml'),
    /additionalPrinterColumns/,
  );
});

test('helm uninstall under load: no request fails, and it leaves no program, link, map, CNI entry or listener on the nodes', async () => {
  const before = await said();
  await run('helm', 'uninstall', 'weft', '-n', 'weft-system', '--wait', '--timeout', '180s');
  const during = await said();
  assert.ok(during.good > before.good);
  assert.equal(during.bad - before.bad, 0, during.errors.join('\n'));
  await until('the agents are gone', 60_000, async () =>
    (await system('get', 'pod', '-l', eitherAgent, '-o', 'name')) === '' ? true : undefined,
  );
  const { bad, errors } = await since(await said());
  assert.equal(bad, 0, errors.join('\n'));
  if (given !== undefined) return;
  const nodes = readdirSync(join(state, 'mnt')).filter((name) => /^node\d+$/.test(name));
  assert.ok(nodes.length > 0);
  for (const node of nodes) {
    const pins = await run('nsenter', `--mount=${join(state, 'mnt', node)}`, 'ls', '/sys/fs/bpf');
    assert.doesNotMatch(pins, /weft/);
    for (const dir of ['/etc/cni/net.d', '/opt/cni/bin', '/var/lib/weft', '/run/weft/agent/cni']) {
      const left = await run(
        'nsenter',
        `--mount=${join(state, 'mnt', node)}`,
        'sh',
        '-c',
        `grep -rl weft ${dir}; ls ${dir}; true`,
      );
      assert.doesNotMatch(left, /weft|socket|namespaces/, dir);
    }
  }
  for (const kind of ['prog', 'map']) {
    const found = JSON.parse(await run('bpftool', '-j', kind, 'show')) as { name?: string }[];
    assert.deepEqual(
      found.filter(({ name }) => name?.startsWith('weft_')),
      [],
    );
  }
});
