import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cpuOf, loadProgram, numberAt, runJson, Servers } from '../../bench/harness/load.js';
import { Namespaces, type Pair } from '../support/netns.js';
import { Programs } from '../support/proc.js';

const namespaces = new Namespaces();
const programs = new Programs();
const servers = new Servers();
let pair: Pair;

before(async () => {
  pair = namespaces.pair();
  await servers.start(pair.b, 7000, loadProgram('echo'), ['7000', String(cpuOf.server)]);
});
after(async () => {
  await servers.stop();
  await programs.end();
  namespaces.remove();
});

for (const family of ['b4', 'b6'] as const) {
  test(`the load programs measure round trips and connections over ${family === 'b4' ? 'IPv4' : 'IPv6'}`, async () => {
    const trips = await runJson(
      pair.a,
      loadProgram('pingpong'),
      [pair[family], '7000', '-1', '128', '300'],
      10_000,
    );
    const [p50, p99, p999] = ['p50_us', 'p99_us', 'p999_us'].map((field) => numberAt(trips, field));
    assert.ok(p50 && p99 && p999 && 0 < p50 && p50 <= p99 && p99 <= p999, JSON.stringify(trips));
    assert.ok(numberAt(trips, 'all_trips') > numberAt(trips, 'trips'));
    const opened = await runJson(
      pair.a,
      loadProgram('connections'),
      [pair[family], '7000', '-1', '128', '300', '4'],
      10_000,
    );
    assert.ok(numberAt(opened, 'opened') > 0);
    assert.equal(numberAt(opened, 'failed'), 0);
  });
}

test('a load program that cannot connect fails with a message', async () => {
  for (const name of ['pingpong', 'connections'] as const) {
    const more = name === 'pingpong' ? [] : ['4'];
    await assert.rejects(
      runJson(pair.a, loadProgram(name), [pair.b4, '7001', '-1', '128', '300', ...more], 10_000),
      (error: { code?: string; message: string }) =>
        error.code === 'WEFT_COMMAND' && /refused|failed/.test(error.message),
    );
  }
});

test('invalid arguments end a load program with exit code 2', async () => {
  for (const args of [[], ['nonsense', '1', '0', '1', '1'], ['192.0.2.2', '7000', '0', '0', '1']]) {
    const { code } = await programs.run(loadProgram('pingpong'), args);
    assert.equal(code, 2);
  }
});
