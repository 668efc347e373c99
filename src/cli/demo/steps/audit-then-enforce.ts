/** Policies are suggested from what was observed, tried in audit mode, and enforced. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sleep, until } from '../../../base/wait.js';
import { distRoot } from '../../run.js';
import { apiVip, cacheVip, id, marker, namespace, pong, type Stage, type Step } from '../stage.js';

const weft = join(distRoot, 'src', 'cli', 'weft.js');

interface Finished {
  readonly code: number;
  readonly stdout: string;
}

/** Runs `weft policy` about the demo's testbed. */
const policy = ({ state }: Stage, ...args: readonly string[]): Promise<Finished> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      [weft, 'policy', ...args, '--state', state],
      { encoding: 'utf8', timeout: 60_000, maxBuffer: 16 << 20 },
      (error, stdout) => resolve({ code: error ? Number(error.code ?? 1) : 0, stdout }),
    );
  });

interface SeenCall {
  readonly source: { readonly identity?: string };
  readonly destination: { readonly workload: string };
  readonly port: number;
  readonly paths: readonly string[];
  readonly audited: number;
}

/** Programs report every 10 s. What was seen before a report may count as seen when it is sent. */
const reportedMs = 12_000;

export const auditThenEnforceStep: Step = {
  name: 'audit-then-enforce',
  title: 'From watching to enforcing: observe, suggest policies, compare, try them in audit mode, enforce',
  run: async (stage) => {
    const audit = namespace('weft.dev/mesh: enabled, weft.dev/policy-mode: audit');
    stage.write('namespace.yaml', audit);
    let startedMs = 0;
    const since = (): string => `${Math.ceil((Date.now() - startedMs) / 1000)}s`;
    const calls = async (): Promise<readonly SeenCall[]> => {
      const { stdout } = await policy(stage, 'observe', '-n', 'shop', '--since', since(), '--json');
      return (JSON.parse(stdout) as { calls: readonly SeenCall[] }).calls;
    };
    const find = (
      all: readonly SeenCall[],
      account: string,
      workload: string,
      port: number,
    ): SeenCall | undefined =>
      all.find(
        (one) =>
          one.source.identity === id(account) && one.destination.workload === workload && one.port === port,
      );
    const page = async (netns: string): Promise<string> =>
      (await stage.curl(netns, `http://${apiVip}/`)).stdout.trim();

    // What earlier steps did is not what this one observes.
    await until('earlier calls of intruder were reported', 120_000, async () => {
      startedMs = Date.now();
      await sleep(reportedMs);
      return (await calls()).every(({ source }) => source.identity !== id('intruder'));
    });

    // Traffic: web asks api, on the other node, and keeps a connection to cache, on its own node.
    const live = stage.connect('weft-web', cacheVip, 6379);
    await live.wait('connected');
    assert.equal((await live.ask('PING\r\n')).trim(), pong);
    assert.equal(await page('weft-web'), marker);
    const seen = await until('both calls were observed, the kernel path included', 60_000, async () => {
      // The first connection to each pod is decided by the agent, the next one is a kernel flow.
      assert.equal(await stage.ping('weft-web', cacheVip, 6379), pong);
      const all = await calls();
      const [api, cache] = [find(all, 'web', 'api', 8080), find(all, 'web', 'cache', 6379)];
      return api && cache?.paths.includes('kernel') && { api, cache, count: all.length };
    });

    const { code, stdout: suggested } = await policy(stage, 'suggest', '-n', 'shop', '--since', since());
    assert.equal(code, 0);
    const file = join(stage.state, 'suggested.yaml');
    writeFileSync(file, suggested);
    const diff = await policy(stage, 'diff', file, '-n', 'shop', '--since', since());
    assert.equal(diff.code, 0, diff.stdout);

    // In audit mode what was not seen passes, and is recorded.
    stage.write('suggested.yaml', suggested);
    const before = stage.records('node-b').length;
    const recorded = await until('an unseen client is recorded', 60_000, async () => {
      assert.equal(await page('weft-intruder'), marker, 'nothing is refused in audit mode');
      return stage
        .records('node-b')
        .slice(before)
        .find(({ source, audited }) => source.identity === id('intruder') && (audited ?? []).length > 0);
    });

    // Enforced: what was not seen is refused, what was seen is not.
    stage.write('namespace.yaml', namespace('weft.dev/mesh: enabled'));
    await until('the unseen client is refused', 60_000, async () => {
      assert.equal(await page('weft-web'), marker, 'what was seen is never refused');
      return (await page('weft-intruder')) === '';
    });
    assert.equal((await live.ask('PING\r\n')).trim(), pong, 'the open connection is kept');
    assert.equal(await stage.ping('weft-web', cacheVip, 6379), pong);
    const intruderToCache = await stage.ping('weft-intruder', cacheVip, 6379);
    assert.notEqual(intruderToCache, pong);
    live.end();
    stage.remove('suggested.yaml');
    await until('the policies are gone', 60_000, async () => (await page('weft-intruder')) === marker);
    return {
      observedCalls: seen.count,
      policies: suggested.split('kind: AccessPolicy').length - 1,
      diff: diff.stdout.trim().split('\n').at(-1),
      recorded: recorded.audited,
      intruderToCache,
    };
  },
  summary: (e) =>
    `${String(e['policies'])} policies suggested from ${String(e['observedCalls'])} calls; in audit mode intruder was recorded, enforced it is refused (${String(e['intruderToCache'])}); nothing that was seen was refused`,
};
