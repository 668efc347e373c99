/** Runs the CNI plugin as a container runtime does. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { AddRequest, Reply } from '../../daemonset/cni/protocol.js';
import { serveCni } from '../../daemonset/cni/server.js';
import { cniProgram } from '../../daemonset/datapath/loader.js';
import { eventually } from '../support/eventually.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-cni-'));
after(() => rmSync(dir, { recursive: true }));
const path = join(dir, 'cni', 'socket');
const namespaces = join(dir, 'namespaces');
writeFileSync(namespaces, 'bank\nshop\n');
const result = { cniVersion: '1.0.0', ips: [{ address: '10.1.2.3/24' }, { address: 'fd00::3/64' }], dns: {} };
const conf = {
  cniVersion: '1.0.0',
  name: 'net',
  type: 'weft-cni',
  socket: path,
  namespaces,
  prevResult: result,
};

async function plugin(
  command: string,
  config: object | string = conf,
  environment: Record<string, string> = {},
): Promise<{ code: number | null; said: Record<string, unknown> | undefined }> {
  const child = spawn(cniProgram, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      CNI_COMMAND: command,
      CNI_NETNS: '/proc/self/ns/net',
      CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=uid-1',
      ...environment,
    },
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (text += part));
  child.stdin.on('error', () => undefined);
  child.stdin.end(typeof config === 'string' ? config : JSON.stringify(config));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, said: text === '' ? undefined : (JSON.parse(text) as Record<string, unknown>) };
}
async function withAgent<T>(
  onAdd: (request: AddRequest) => Promise<Reply>,
  work: () => Promise<T>,
): Promise<T> {
  const server = await serveCni({ path, onAdd });
  try {
    return await work();
  } finally {
    server.close();
  }
}

test('requests the pod with its namespace and addresses, and passes on the previous plugin’s result', async () => {
  let asked: AddRequest | undefined;
  let namespace = '';
  const { code, said } = await withAgent(
    (request) => {
      asked = request;
      namespace = readlinkSync(request.netns);
      return Promise.resolve({ ok: true });
    },
    () => plugin('ADD'),
  );
  assert.equal(code, 0);
  assert.deepEqual(said, result);
  assert.equal(namespace, readlinkSync('/proc/self/ns/net'));
  assert.deepEqual(
    { ...asked, netns: '' },
    {
      namespace: 'shop',
      name: 'web',
      podUid: 'uid-1',
      netns: '',
      addresses: ['10.1.2.3', 'fd00::3'],
    },
  );
});

test("a pod that is not enrolled does not start: the runtime gets the agent's reason and tries again", async () => {
  const { code, said } = await withAgent(
    () => Promise.resolve({ ok: false, message: 'not "yet"' }),
    () => plugin('ADD'),
  );
  assert.equal(code, 1);
  assert.deepEqual(said, { cniVersion: '1.0.0', code: 11, msg: 'weft: not "yet"' });
});

test('without an agent, pods of enrolled namespaces wait or start as configured; others start', async () => {
  const waits = await plugin('ADD');
  assert.equal(waits.code, 1);
  assert.equal(waits.said?.['code'], 11);
  assert.match(String(waits.said?.['msg']), /does not answer .* pods of namespace shop do not start outside/);
  assert.equal((await plugin('ADD', { ...conf, whenAgentIsAway: 'start' })).code, 0);
  const other = { CNI_ARGS: 'K8S_POD_NAMESPACE=sho;K8S_POD_NAME=web' };
  assert.deepEqual(await plugin('ADD', conf, other), { code: 0, said: result });
});

test('an agent that dies during a request counts as unavailable', async () => {
  let asked = 0;
  const server = await serveCni({ path, onAdd: () => new Promise(() => asked++) });
  const asking = plugin('ADD');
  await eventually(() => asked === 1, 'the request');
  server.close();
  // The agent's connections end with its process.
  const { code } = await Promise.race([asking, plugin('ADD')]);
  assert.equal(code, 1);
  server.end();
  assert.equal((await asking).code, 1);
});

test('a container that is not a pod starts', async () => {
  assert.deepEqual(await plugin('ADD', conf, { CNI_ARGS: '' }), { code: 0, said: result });
});

test('DEL, CHECK and VERSION need no agent', async () => {
  for (const command of ['DEL', 'CHECK', 'GC', 'STATUS']) assert.equal((await plugin(command)).code, 0);
  const { said } = await plugin('VERSION', {});
  assert.ok((said?.['supportedVersions'] as string[]).includes('1.1.0'));
});

test('an invalid configuration is refused with its error code', async () => {
  const codes = new Map<object | string, number>([
    ['{', 6],
    ['[]', 6],
    [{ ...conf, prevResult: undefined }, 7],
    [{ ...conf, prevResult: 'x' }, 7],
  ]);
  for (const [config, code] of codes) assert.equal((await plugin('ADD', config)).said?.['code'], code);
  assert.equal((await plugin('ADD', conf, { CNI_NETNS: '/nowhere' })).said?.['code'], 5);
  assert.equal((await plugin('ADD', conf, { CNI_NETNS: '' })).said?.['code'], 4);
});
