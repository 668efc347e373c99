/** A testbed on a copy of the demo's manifests, which a test may change. It is removed after the test. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';

type TestbedOptions = Parameters<typeof Testbed.create>[0];

const example = (name: string): string =>
  readFileSync(join(projectRoot, 'docs', 'examples', 'waypoint', `${name}.yaml`), 'utf8');

export class DemoMesh {
  readonly state: string;
  readonly manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));

  /** @param name name of the test; its state is at /run/weft/test-NAME */
  constructor(name: string) {
    this.state = `/run/weft/test-${name}`;
  }

  /** Starts with the demo's manifests and the namespace `shop` enrolled. Leftovers of an earlier run are removed. */
  async prepare(): Promise<void> {
    await tearDown(this.state);
    cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), this.manifests, { recursive: true });
    this.namespace();
  }

  /** Sets labels and annotations of `shop`, given as YAML flow mappings. */
  namespace(labels = 'weft.dev/mesh: enabled', annotations?: string): void {
    const more = annotations === undefined ? '' : `, annotations: { ${annotations} }`;
    this.write('namespace.yaml', `kind: Namespace\nmetadata: { name: shop, labels: { ${labels} }${more} }\n`);
  }

  /** The waypoint of the documentation. */
  gateway(change: (yaml: string) => string = (yaml) => yaml): void {
    this.write('gateway.yaml', change(example('gateway')));
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.manifests, file), text);
  }

  /** Fails if `text` is not in the file. */
  replace(file: string, text: string, by: string): void {
    const before = readFileSync(join(this.manifests, file), 'utf8');
    assert.ok(before.includes(text), `${file} has no ${text}`);
    this.write(file, before.replace(text, by));
  }

  create(options: Omit<TestbedOptions, 'from' | 'state'> = {}): Testbed {
    return Testbed.create({ ...options, from: this.manifests, state: this.state });
  }

  async remove(): Promise<void> {
    await tearDown(this.state);
    rmSync(this.manifests, { recursive: true, force: true });
  }
}

/** Resolves when a server listens at the pod's loopback address, or at `ip` as seen from the pod. */
export async function listening(netns: string, port: number, ip = '127.0.0.1'): Promise<void> {
  await until(`a server listens at ${ip} port ${port}`, 30_000, async () => {
    const { code } = await run(netns, 'bash', ['-c', `: >/dev/tcp/${ip}/${port}`]);
    return code === 0;
  });
}
