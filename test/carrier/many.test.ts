/** Thousands of idle and busy connections, and a policy that forbids half of them: these are cut, the others continue. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { connectionRecords, recordedTwice } from '../support/records.js';
import { closePorts } from './support/closed-ports.js';
import { checkRelay, relayProcess, relays, residentMiB, useRelay } from './support/relays.js';

const program = join(projectRoot, 'test', 'carrier', 'programs', 'many.py');
const pods = ['web', 'intruder', 'cache', 'cache-2'] as const;
/**
 * Of 10 000 idle and 1 000 busy connections to one pod, the part that a carrier admits: one pod may have 21/32 of the descriptors of
 * connections (native/carrier/src/net/pod_shares.h). Its tunnel connections have some of them, too.
 */
const descriptors = Number(
  /^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? Infinity,
);
const part = Math.min(1, ((descriptors - Math.max(512, descriptors / 16)) * 21) / 32 / 11_200);
/** Connections of each pod and port. Descriptors of this machine limit what the threads of one agent can relay. */
const sizes = {
  typescript: { idle: 100, busy: 15 },
  carrier: { idle: Math.floor(1_250 * part), busy: Math.floor(125 * part) },
} as const;
/** docs/limits.md promises a second. */
const cutMsMax = 1_000;

interface Report {
  readonly open: number;
  readonly failed: readonly string[];
  readonly failures: number;
  readonly forbidden: number;
  readonly cut: number;
  readonly first: number;
  readonly last: number;
  readonly lost: number;
  readonly trips: number;
  readonly wrong: number;
}
class Holder {
  readonly #child;
  #text = '';
  #asked = 0;
  constructor(pod: string, counts: readonly number[]) {
    const args = ['python3', program, 'hold', '10.244.2.10', '9001', '9002', ...counts.map(String)];
    this.#child = spawn('nsenter', [`--net=/run/netns/weft-${pod}`, '--', ...args]);
    this.#child.stdout.on('data', (bytes: Buffer) => (this.#text += bytes.toString()));
    this.#child.stderr.pipe(process.stderr);
    holders.add(this);
  }
  /** The first call resolves once all connections are open. */
  async report(): Promise<Report> {
    const at = this.#asked++;
    if (at > 0) this.#child.stdin.write('report\n');
    const line = await until('a report', 120_000, () => this.#text.split('\n').slice(0, -1)[at]);
    return JSON.parse(line) as Report;
  }
  end(): void {
    this.#child.stdin.end();
    this.#child.kill('SIGKILL');
  }
}
const holders = new Set<Holder>();

for (const relay of relays)
  describe(relay, () => {
    const mesh = new DemoMesh(`many-${relay}`);
    let testbed: Testbed;
    before(async () => {
      useRelay(relay);
      await mesh.prepare();
      testbed = mesh.create();
      testbed.start('serve', 'weft-api', 'python3', [program, 'serve', '9001', '9002']);
      await testbed.up();
      await checkRelay('weft-node-a', relay);
      for (const port of [9001, 9002]) await listening('weft-api', port);
    });
    after(async () => {
      for (const holder of holders) holder.end();
      holders.clear();
      await mesh.remove();
    });

    test(`${relay}: a policy among thousands of connections cuts what it forbids, and nothing else`, async () => {
      const { idle, busy } = sizes[relay];
      const pid = testbed.mark(relayProcess(relay, 'node-a'))?.pid ?? 0;
      const first = new Holder('web', [1, 1]);
      assert.deepEqual((await first.report()).failed, []);
      const before = residentMiB(pid);
      const began = Date.now();
      const all = pods.map((pod) => new Holder(pod, [idle, busy]));
      const opened = await Promise.all(all.map((one) => one.report()));
      const count = pods.length * 2 * (idle + busy);
      // Why, if some were refused.
      const refused = new Map<string, number>();
      for (const { path, code, why } of ['node-a', 'node-b'].flatMap((node) =>
        connectionRecords(testbed.runDir(node)),
      ))
        if (path === 'refused') refused.set(`${code} ${why}`, (refused.get(`${code} ${why}`) ?? 0) + 1);
      assert.deepEqual(
        opened.flatMap(({ failed }) => failed),
        [],
        JSON.stringify({ failures: opened.map(({ failures }) => failures), refused: [...refused] }),
      );
      const seconds = (Date.now() - began) / 1000;
      const kib = ((residentMiB(pid) - before) * 1024) / count;
      console.log(
        `${relay}: ${count} connections in ${seconds.toFixed(1)} s, ${kib.toFixed(1)} KiB of resident memory each`,
      );
      await sleep(1_500);
      const busyFirst = await Promise.all(all.map((one) => one.report()));
      assert.ok(
        busyFirst.every(({ trips, lost, cut }) => trips > 0 && lost === 0 && cut === 0),
        JSON.stringify(busyFirst),
      );

      const changed = Date.now();
      closePorts(mesh, 9002);
      const cut = await until(
        'every forbidden connection is cut',
        60_000,
        async () => {
          const now = await Promise.all(all.map((one) => one.report()));
          return now.every(({ cut, forbidden }) => cut === forbidden) && now;
        },
        200,
      );
      const firstMs = Math.min(...cut.map(({ first }) => first));
      const lastMs = Math.max(...cut.map(({ last }) => last));
      const spanMs = lastMs - firstMs;
      console.log(
        `${relay}: ${count / 2} of ${count} connections cut within ${spanMs.toFixed(0)} ms of the first one, ${(lastMs - changed).toFixed(0)} ms after the file was written`,
      );
      assert.ok(spanMs < cutMsMax, `${spanMs} ms`);
      await sleep(1_500);
      const later = await Promise.all(all.map((one) => one.report()));
      for (const [i, { lost, wrong, trips, failures }] of later.entries()) {
        assert.deepEqual({ lost, wrong, failures }, { lost: 0, wrong: 0, failures: 0 });
        assert.ok(trips > (cut[i]?.trips ?? 0), 'the busy ones continue');
      }
      for (const holder of holders) holder.end();
      // Every connection has exactly one record, at the node where it was cut and at the other one.
      for (const node of ['node-a', 'node-b'])
        await until(
          `all records of ${node}`,
          60_000,
          () => connectionRecords(testbed.runDir(node)).length >= count + 4,
          250,
        );
      await sleep(500);
      for (const node of ['node-a', 'node-b']) {
        const records = connectionRecords(testbed.runDir(node));
        assert.deepEqual(recordedTwice(records), [], node);
        assert.equal(records.length, count + 4, node);
      }
      const reasons = connectionRecords(testbed.runDir('node-b')).filter(({ ended }) =>
        ended.startsWith('cut'),
      );
      assert.equal(reasons.length, count / 2 + 2);
    });
  });
