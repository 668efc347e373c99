/**
 * A node whose pods of namespace `shop` are spliced, with servers in them, and helpers for tests of the kernel path
 * (test/netns/kernel-*.test.ts).
 */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { run } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { connectionRecords } from './records.js';

export const spliceBytesMax = 512 << 10;
export const spliceNodeBytesMax = 64 << 20;
export const leaseMs = 4_000;
export const [cache, cache6, cache2, secret, plainly] = [
  '10.244.1.12',
  'fd00:244:1::12',
  '10.244.1.13',
  '10.244.1.20',
  '10.244.1.21',
];
export const cacheVip = '10.96.0.12';

const more = `
apiVersion: v1
kind: Pod
metadata: { name: secret, namespace: shop, annotations: { weft.dev/netns: weft-secret, weft.dev/same-node: encrypted } }
spec: { nodeName: node-a, serviceAccountName: secret }
status: { podIPs: [{ ip: 10.244.1.20 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: plainly, namespace: shop, annotations: { weft.dev/netns: weft-plainly, weft.dev/splice-off-ports: '9000' } }
spec: { nodeName: node-a, serviceAccountName: plainly }
status: { podIPs: [{ ip: 10.244.1.21 }] }
`;
/** An echo server with non-blocking sockets; on port 9002 with blocking sockets. On port 9001 it reads one byte and then stops. */
const server = `
import socket, threading, sys, asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
port = int(sys.argv[1])
s = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
held = []
def serve(c, who):
    try:
        while True:
            d = c.recv(65536)
            if not d: break
            c.sendall(d)
    except OSError: print('reset', who[0].replace('::ffff:', ''), flush=True)
    c.close()
async def echo(reader, writer):
    try:
        while True:
            d = await reader.read(65536)
            if not d: break
            writer.write(d)
            await writer.drain()
    except OSError: pass
    writer.close()
async def main():
    served = await asyncio.start_server(echo, sock=s)
    await served.serve_forever()
if port not in (9001, 9002): asyncio.run(main())
while True:
    c, who = s.accept()
    if port == 9001:
        c.settimeout(10)
        c.sendall(c.recv(1))
        held.append(c)
    else: threading.Thread(target=serve, args=(c, who), daemon=True).start()
`;
/** Runs Python in a pod; returns its output, or the last line of its error. */
export async function client(netns: string, code: string, timeoutMs = 20_000): Promise<string> {
  const all = `import socket, struct, errno, select, time\n${code}`;
  const { code: status, stdout, stderr } = await run(netns, 'python3', ['-c', all], timeoutMs);
  return status === 0 ? stdout.trim() : (stderr.trim().split('\n').at(-1) ?? '');
}
/** Python code of a client with a connected socket `s`. */
export const exchange = "s.sendall(b'ping'); print(s.recv(10).decode())";
export const dial = (ip: string, port = 9000): string =>
  `s = socket.create_connection(('${ip}', ${port}), 4)`;
export const ping = (netns: string, ip: string, port = 9000): Promise<string> =>
  client(netns, `${dial(ip, port)}; ${exchange}`);

export const denying = (name: string, account: string, extra = ''): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: ${name}, namespace: shop }
spec: { action: DENY, ${extra}rules: [{ from: [{ serviceAccounts: [${account}] }] }] }
`;

export class KernelTestbed {
  readonly manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
  #testbed: Testbed | undefined;

  /** `state`: a directory that only this test uses. */
  constructor(private readonly state: string) {}

  get testbed(): Testbed {
    if (!this.#testbed) throw new Error('the testbed is not up');
    return this.#testbed;
  }

  async up(): Promise<void> {
    await tearDown(this.state);
    cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), this.manifests, { recursive: true });
    this.write('more.yaml', more);
    this.write(
      'namespace.yaml',
      'kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict }, annotations: { weft.dev/splice: "on" } }\n',
    );
    this.#testbed = Testbed.create({
      from: this.manifests,
      state: this.state,
      workers: 1,
      agentFlags: [
        '--splice-bytes-max',
        String(spliceBytesMax),
        '--splice-node-bytes-max',
        String(spliceNodeBytesMax),
        '--verdict-lease-ms',
        String(leaseMs),
      ],
    });
    for (const pod of ['cache', 'cache-2', 'secret', 'plainly']) {
      for (const port of [6379, 9000, 9001, 9002])
        this.testbed.start(`${pod}-${port}`, `weft-${pod}`, 'python3', ['-c', server, String(port)]);
    }
    await this.testbed.up();
  }

  async down(): Promise<void> {
    await tearDown(this.state);
    rmSync(this.manifests, { recursive: true, force: true });
  }

  /** Writes a manifest of the node. */
  write(file: string, text: string): void {
    writeFileSync(join(this.manifests, file), text);
  }
  remove(file: string): void {
    rmSync(join(this.manifests, file), { force: true });
  }

  records(): ConnectionRecord[] {
    return connectionRecords(this.testbed.runDir('node-a'));
  }
  recordAfter(at: number, find: (record: ConnectionRecord) => boolean): Promise<ConnectionRecord> {
    return until('the record', 30_000, () => this.records().slice(at).find(find));
  }
  async dump<T>(): Promise<T> {
    return JSON.parse(await adminGet('weft-node-a', adminPort, '/dump')) as T;
  }

  /** Connects until this pair has kernel flows: the first connection requests the verdict. */
  async warm(netns: string, ip: string, port = 9000): Promise<void> {
    await until(`the kernel carries ${netns} to ${ip}`, 30_000, async () => {
      const before = await this.#allowedSoFar();
      await client(netns, dial(ip, port));
      return (await this.#allowedSoFar()) > before;
    });
    await sleep(150);
  }

  async #allowedSoFar(): Promise<number> {
    return (await this.dump<{ kernel: Record<string, number> }>()).kernel['kernel-allowed'] ?? 0;
  }
}
