/** `weft explain` says what then happens, and what a change would do. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../../base/wait.js';
import type { Explanation } from '../../explain/result.js';
import { distRoot } from '../../run.js';
import { apiVip, cacheVip, denyIntruder, id, pong, turnedAway, type Stage, type Step } from '../stage.js';

const weft = join(distRoot, 'src', 'cli', 'weft.js');

interface Answer<T> {
  readonly code: number;
  readonly answer: T;
}

/** Runs `weft explain` about the demo's testbed. It compiles the manifests in a program of its own, which takes seconds on a slow machine. */
const explain = <T = Explanation>({ state }: Stage, ...args: readonly string[]): Promise<Answer<T>> =>
  new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [weft, 'explain', ...args, '--state', state, '--json'],
      { encoding: 'utf8', timeout: 240_000, maxBuffer: 16 << 20 },
      (error, stdout, stderr) => {
        const code = error ? Number(error.code ?? 1) : 0;
        try {
          resolve({ code, answer: JSON.parse(stdout) as T });
        } catch {
          reject(new Error(`weft explain ${args.join(' ')}: exit code ${code}: ${stderr}`));
        }
      },
    );
  });

const whyOf = ({ ways }: Explanation): string => ways[0]?.why ?? '';

export const explainSteps: readonly Step[] = [
  {
    name: 'explain-allowed',
    title: 'weft explain says which path a connection takes: the connections that follow take it',
    run: async (stage) => {
      const cache = await explain(stage, 'shop/web', 'shop/cache');
      const api = await explain(stage, 'shop/web', 'shop/api:6379');
      assert.deepEqual([cache.code, api.code], [0, 0]);
      assert.deepEqual(
        [cache.answer.ways.map(({ path }) => path), api.answer.ways.map(({ path }) => path)],
        [['kernel'], ['hbone']],
      );
      const logged = stage.records('node-a').length;
      await until('a kernel flow to cache', 60_000, async () => {
        // The first connection to each pod is decided by the agent.
        assert.equal(await stage.ping('weft-web', cacheVip, 6379), pong);
        return stage
          .records('node-a')
          .slice(logged)
          .some(({ path, source }) => path === 'kernel' && source.identity === id('web'));
      });
      assert.equal(await stage.ping('weft-web', apiVip, 6379), pong);
      const record = await stage.record(
        'node-a',
        'the tunnel to api',
        logged,
        ({ path, direction, source, destination }) =>
          path === 'hbone' &&
          direction === 'outbound' &&
          source.identity === id('web') &&
          destination.identity === id('api'),
      );
      assert.equal(api.answer.destination.identity, record.destination.identity);
      return { toCache: 'kernel', toApi: record.path, why: whyOf(api.answer) };
    },
    summary: (e) =>
      `web to cache: ${String(e['toCache'])}, web to api: ${String(e['toApi'])} (${String(e['why'])}), as explained`,
  },
  {
    name: 'explain-denied',
    title: 'It names the policy and the rule that refuse a connection: those in the line of the log',
    run: async (stage) => {
      const logged = stage.records('node-b').length;
      stage.write('policy.yaml', denyIntruder);
      // A connection that was being opened when the policy came has a line without the policy's name.
      const record = await until(
        'intruder is refused, and the line of the log names the policy',
        60_000,
        async () => {
          if (!turnedAway.includes(await stage.ping('weft-intruder', apiVip, 6379))) return false;
          return stage
            .records('node-b')
            .slice(logged)
            .find(
              ({ path, source, policy }) =>
                path === 'refused' && source.identity === id('intruder') && policy !== undefined,
            );
        },
      );
      const { code, answer } = await explain(stage, 'shop/intruder', 'shop/api:6379');
      const [way] = answer.ways;
      assert.deepEqual([code, answer.outcome], [3, 'refused']);
      assert.deepEqual([way?.policy, way?.rule, way?.why], [record.policy, record.rule, record.why]);
      const other = await explain(stage, 'shop/web', 'shop/api:6379');
      assert.deepEqual([other.code, other.answer.outcome], [0, 'allowed']);
      stage.remove('policy.yaml');
      await until(
        'intruder is allowed again',
        60_000,
        async () => (await stage.ping('weft-intruder', apiVip, 6379)) === pong,
      );
      return { why: whyOf(answer), logged: record.why, decidedBy: way?.decidedBy };
    },
    summary: (e) => `${String(e['decidedBy'])}: ${String(e['why'])}`,
  },
  {
    name: 'explain-what-if',
    title: '--what-if says what a manifest would do before it is applied, and applies nothing',
    run: async (stage) => {
      const file = join(stage.state, 'what-if.yaml');
      writeFileSync(file, denyIntruder);
      const { code, answer } = await explain<{ readonly now: Explanation; readonly whatIf: Explanation }>(
        stage,
        'shop/intruder',
        'shop/api:6379',
        '--what-if',
        file,
      );
      const { now, whatIf } = answer;
      assert.deepEqual([now.outcome, whatIf.outcome, code], ['allowed', 'refused', 3]);
      const intruderSaw = await stage.ping('weft-intruder', apiVip, 6379);
      assert.equal(intruderSaw, pong);
      return { now: whyOf(now), whatIf: whyOf(whatIf), intruderSaw };
    },
    summary: (e) =>
      `now: ${String(e['now'])}; with the manifest: ${String(e['whatIf'])}; intruder still sees ${String(e['intruderSaw'])}`,
  },
];
