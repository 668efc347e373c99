import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RedisConnection } from './redis.js';
import { Counters, type Counted } from './counters.js';
import { eventually } from '../../test/support/waypoint.js';
import { startRedis } from '../../test/support/redis.js';

const web = { namespace: 'shop', serviceAccount: 'web' };
const other = { namespace: 'other', serviceAccount: 'web' };
const asked = (key: string, hits: number, limit = 10, unitMs = 3_600_000, client = 'a', group = client) => ({
  key,
  hits,
  limit,
  unitMs,
  client,
  group,
  limitKey: 'limit',
});
const grantedOf = (counted: Counted): number | string =>
  counted.kind === 'counted' ? counted.granted : counted.kind;

test('two replicas share a counter: what both are granted together is the limit', async (t) => {
  const redis = await startRedis(t);
  const [first, second] = [redis.counters(t), redis.counters(t)];
  await eventually(() => first.connection.isUp && second.connection.isUp, 'both are connected');
  const granted = await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      (i % 2 === 0 ? first : second).counters.count(web, asked('a', 3, 50)).then(grantedOf),
    ),
  );
  assert.equal(
    granted.reduce<number>((sum, one) => sum + Number(one), 0),
    50,
  );
  assert.deepEqual(
    granted.filter((one) => one === 2).length,
    1,
    'the last grant is a part of what was asked',
  );
  // All that was asked in one turn went in one call.
  assert.deepEqual(first.batches, [20]);
  assert.equal(
    grantedOf(await first.counters.count(other, asked('a', 3, 50))),
    3,
    'another caller has its own counter',
  );
});

test('a window ends by the clock of Redis', async (t) => {
  const redis = await startRedis(t);
  const { counters, connection } = redis.counters(t);
  await eventually(() => connection.isUp, 'connected');
  const windowMs = 3_000;
  let seen = await counters.count(web, asked('a', 5, 5, windowMs));
  assert.ok(seen.kind === 'counted' && seen.resetMs > 0 && seen.resetMs <= windowMs);
  // Enough of the window must be left for the next call.
  if (seen.granted < 5 || seen.resetMs < windowMs / 2) {
    await new Promise((resolve) => setTimeout(resolve, seen.kind === 'counted' ? seen.resetMs + 20 : 0));
    seen = await counters.count(web, asked('a', 5, 5, windowMs));
  }
  assert.equal(grantedOf(await counters.count(web, asked('a', 1, 5, windowMs))), 0);
  await new Promise((resolve) => setTimeout(resolve, windowMs + 20));
  assert.equal(grantedOf(await counters.count(web, asked('a', 9, 5, windowMs))), 5);
});

test('a clock of Redis that was set back or forward begins a new window, and keeps no former one', async (t) => {
  const redis = await startRedis(t);
  const { counters, connection } = redis.counters(t);
  await eventually(() => connection.isUp, 'connected');
  for (const hours of [-1, 1, 10_000]) {
    assert.equal(grantedOf(await counters.count(web, asked(`k${hours}`, 10))), 10);
    assert.equal(grantedOf(await counters.count(web, asked(`k${hours}`, 1))), 0);
    // The counters are now of a window that begins that much later or earlier than the present one.
    for (const name of (await connection.call(['KEYS', '*'])) as string[]) {
      const [window = '', count = ''] = String(await connection.call(['GET', name])).split(':');
      await connection.call(['SET', name, `${Number(window) + hours}:${count}`]);
    }
    assert.equal(grantedOf(await counters.count(web, asked(`k${hours}`, 10))), 10, `${hours} hours`);
    await connection.call(['FLUSHALL']);
  }
});

test('a caller has a bounded number of counters, and does not use up those of others', async (t) => {
  const redis = await startRedis(t);
  const { counters, connection } = redis.counters(t, { countersPerCallerMax: 3 });
  await eventually(() => connection.isUp, 'connected');
  const many = await Promise.all(['a', 'b', 'c', 'd', 'a'].map((key) => counters.count(web, asked(key, 1))));
  assert.deepEqual(
    many.map((one) => one.kind === 'counted' && one.isRest),
    [false, false, true, true, false],
  );
  assert.equal(grantedOf(await counters.count(other, asked('a', 1))), 1);
});

test('clients of one caller share its counters: one that invents values leaves those of others', async (t) => {
  const redis = await startRedis(t);
  const { counters, connection } = redis.counters(t, { countersPerCallerMax: 64 });
  await eventually(() => connection.isUp, 'connected');
  const hour = 3_600_000;
  const of = (client: string, key: string, group = client) =>
    counters.count(web, asked(key, 1, 10, hour, client, group));
  const flood = await Promise.all(Array.from({ length: 100 }, (_, i) => of('flood', `f${i}`)));
  const own = flood.filter((one) => one.kind === 'counted' && !one.isRest);
  assert.equal(own.length, 32, 'half of the counters');
  const rest = flood.filter((one) => one.kind === 'counted' && one.isRest);
  assert.equal(rest.length, 68);
  assert.equal(
    rest.reduce((sum, one) => sum + Number(grantedOf(one)), 0),
    10,
    'all further values have one limit together, so inventing values evades nothing',
  );
  // Identities of one namespace have two thirds together.
  for (let i = 0; i < 40; i++) for (let n = 0; n < 20; n++) await of(`flood${i}`, `f${i}-${n}`, 'hostile');
  const others = await Promise.all(Array.from({ length: 4 }, (_, i) => of('good', `g${i}`)));
  assert.ok(
    others.every((one) => one.kind === 'counted' && one.granted === 1 && !one.isRest),
    'another client still has counters of its own',
  );
  // What exists is shared.
  const shared = await of('flood', 'g0');
  assert.ok(shared.kind === 'counted' && !shared.isRest && shared.left === 8);
  const names = (await connection.call(['KEYS', '*'])) as string[];
  assert.ok(names.length < 64 * 3 + 20, `${names.length} keys in Redis`);
});

test('callers take turns in a batch, and each has a share of what waits', async () => {
  const calls: string[][] = [];
  let reply = (_: unknown): void => undefined;
  const counters = new Counters({
    call: (command) => {
      calls.push([...command]);
      return new Promise((resolve) => (reply = resolve));
    },
    limits: { batchKeysMax: 4, waitingKeysMax: 16 },
  });
  const results: string[] = [];
  const send = (owner: typeof web, key: string): void =>
    void counters.count(owner, asked(key, 1)).then(({ kind }) => results.push(`${owner.namespace} ${kind}`));
  for (let i = 0; i < 12; i++) send(web, `k${i}`);
  for (let i = 0; i < 2; i++) send(other, `k${i}`);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(results.filter((one) => one === 'shop full').length, 4, 'one caller gets half of the limit');
  const owners = calls[0]
    ?.slice(3, 11)
    .filter((_, i) => i % 2 === 0)
    .map((key) => key.split(':')[1]);
  assert.deepEqual(owners, ['shop/web', 'other/web', 'shop/web', 'other/web']);
  reply([...Array<number>(15).fill(1), 'x']);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(results.includes('other failed'), 'a reply of another form counts nothing');
});

test('Redis stopped, restarted and with another password: calls fail in time, and counting goes on afterwards', async (t) => {
  const redis = await startRedis(t, { password: 'secret' });
  const { counters, connection, states } = redis.counters(t, {}, { password: 'secret' });
  await eventually(() => connection.isUp, 'connected');
  assert.equal(grantedOf(await counters.count(web, asked('a', 1))), 1);
  redis.signal('SIGSTOP');
  const began = performance.now();
  assert.equal(grantedOf(await counters.count(web, asked('a', 1))), 'failed');
  assert.ok(performance.now() - began < 20_000);
  const again = performance.now();
  assert.equal(grantedOf(await counters.count(web, asked('a', 1))), 'failed');
  assert.ok(performance.now() - again < 1_000, 'calls do not wait while there is no connection');
  redis.signal('SIGCONT');
  await eventually(() => connection.isUp, 'connected again', 10_000);
  // What was counted before counts on.
  assert.equal(grantedOf(await counters.count(web, asked('a', 10))), 8);
  await redis.restart();
  await eventually(() => connection.isUp, 'connected after the restart', 10_000);
  assert.equal(grantedOf(await counters.count(web, asked('a', 10))), 10, 'the counters are lost');
  const wrong = redis.counters(t, {}, { password: 'wrong' });
  await eventually(() => wrong.states.length > 0, 'refused');
  assert.match(wrong.states[0] ?? '', /^false .*WRONGPASS/);
  assert.equal(grantedOf(await wrong.counters.count(web, asked('a', 1))), 'failed');
  assert.ok([...states, ...wrong.states].every((text) => !text.includes('secret') && !/ wrong/.test(text)));
});

test('a connection is opened again after a server that was not there', async (t) => {
  const states: string[] = [];
  const connection = new RedisConnection({
    url: 'redis://127.0.0.1:1',
    replyMsMax: 1_000,
    onState: (isUp, why) => states.push(`${isUp} ${why}`),
  });
  t.after(() => connection.stop());
  await eventually(() => states.length >= 2, 'two attempts');
  assert.match(states[0] ?? '', /ECONNREFUSED/);
});
