/**
 * A testbed with two probes that run all the time. One connects from a pod to a destination that only a pod outside of the mesh may reach.
 * The other connects from outside of the mesh to a pod whose policy forbids it. If either gets through, a pod had plaintext connections.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '../../../native/index.js';
import { until } from '../../../src/base/wait.js';
import { run } from '../../../src/cli/run.js';
import { Testbed, tearDown, type TestbedOptions } from '../../../src/cli/standalone/testbed.js';

export const webIp = '10.244.1.11';
export const cacheIp = '10.244.1.12';
const outsideIp = '10.88.0.2';
const outsidePort = 8443;

const server = `
import socket, sys, threading
def serve(c):
    try:
        while d := c.recv(65536): c.sendall(d)
    except OSError: pass
    c.close()
s = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=256)
while True:
    c, _ = s.accept(); threading.Thread(target=serve, args=(c,), daemon=True).start()
`;
/** Prints a line per attempt: "through", or the error. */
const prober = `
import errno, socket, sys, time
while True:
    try:
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)
        s.settimeout(1); s.sendall(b'x'); print('through' if s.recv(1) else 'closed', flush=True); s.close()
    except OSError as e: print(errno.errorcode.get(e.errno, 'timeout'), flush=True)
    time.sleep(0.002)
`;

export class WatchedMesh {
  readonly #probes: { readonly name: string; readonly child: ChildProcess; lines: string[] }[] = [];

  private constructor(
    readonly testbed: Testbed,
    readonly manifests: string,
  ) {}

  /** The whole mesh is strict, and pods may not connect to destinations outside of the mesh. */
  static async up(state: string, options: Omit<TestbedOptions, 'from' | 'state'> = {}): Promise<WatchedMesh> {
    await tearDown(state);
    const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
    cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
    writeFileSync(
      join(manifests, 'namespace.yaml'),
      'kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict } }\n',
    );
    writeFileSync(
      join(manifests, 'settings.yaml'),
      'apiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { outboundUnknown: refuse }\n',
    );
    const testbed = Testbed.create({ workers: 1, ...options, from: manifests, state });
    testbed.start('cache', 'weft-cache', 'python3', ['-c', server, cacheIp, '9000']);
    testbed.start('web', 'weft-web', 'python3', ['-c', server, webIp, '9000']);
    testbed.start('outside', 'weft-node-b', 'python3', ['-c', server, outsideIp, String(outsidePort)]);
    await testbed.up();
    const mesh = new WatchedMesh(testbed, manifests);
    for (const [name, from, ip, port] of [
      ['a pod that is plain reaches what is outside of the mesh', 'weft-web', outsideIp, outsidePort],
      ['a pod that is plain is reached from outside of the mesh', 'weft-node-b', webIp, 9000],
    ] as const)
      mesh.#probe(name, from, ip, port);
    await until('both probes are refused', 30_000, () =>
      mesh.#probes.every(({ lines }) => lines.length > 0 && lines.at(-1) !== 'through'),
    );
    for (const probe of mesh.#probes) probe.lines = [];
    return mesh;
  }

  #probe(name: string, from: string, ip: string, port: number): void {
    const child = spawn('nsenter', [`--net=/run/netns/${from}`, 'python3', '-c', prober, ip, String(port)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const probe = { name, child, lines: [] as string[] };
    child.stdout.on('data', (bytes: Buffer) =>
      probe.lines.push(...bytes.toString().split('\n').filter(Boolean)),
    );
    this.#probes.push(probe);
  }

  /** Attempts that got through so far, by probe; empty if none did. Throws if a probe has ended. */
  leaks(): string[] {
    return this.#probes.flatMap(({ name, lines, child }) => {
      if (child.exitCode !== null) throw new Error(`the probe has ended: ${name}`);
      const through = lines.filter((line) => line === 'through').length;
      return through === 0 ? [] : [`${name}: ${through} of ${lines.length}`];
    });
  }

  /** Number of attempts so far, of the probe with the fewest. */
  get attempts(): number {
    return Math.min(...this.#probes.map(({ lines }) => lines.length));
  }

  /** Opens one connection between two pods of the mesh; returns the received text, or the error's name. */
  async call(from = 'weft-web', ip = cacheIp, port = 9000): Promise<string> {
    const code = `import errno, socket
try:
    s = socket.create_connection(('${ip}', ${port}), 3); s.sendall(b'here'); print(s.recv(10).decode() or 'closed')
except OSError as e: print(errno.errorcode.get(e.errno, 'timeout'))
`;
    return (await run(from, 'python3', ['-c', code], 30_000)).stdout.trim();
  }

  async down(): Promise<void> {
    for (const { child } of this.#probes) child.kill('SIGKILL');
    await tearDown(this.testbed.state);
    rmSync(this.manifests, { recursive: true, force: true });
  }
}
