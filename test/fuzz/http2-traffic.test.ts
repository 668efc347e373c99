/** Random messages between the engine and node:http2: what one end sends, the other must get, and nothing may stay open. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions } from '../../src/http2/http2.js';
import { duplexPair } from '../support/http2-engine.js';
import {
  engineClient,
  engineServer,
  expected,
  nodeClient,
  nodeServer,
  randomPlan,
  type Exchanges,
  type Plan,
} from '../support/http2-traffic.js';
import { randomOf } from '../support/random.js';

/** FUZZ_SEED=n repeats a failed run, FUZZ_MS=n sets the duration of each test. */
const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1e9);
const msMax = Number(process.env['FUZZ_MS'] ?? 1_500);
const roundMsMax = 60_000;

for (const [client, server] of [
  ['engine', 'node'],
  ['node', 'engine'],
  ['engine', 'engine'],
] as const) {
  test(`random messages from ${client} to ${server} arrive as they were sent`, async () => {
    const began = Date.now();
    let rounds = 0;
    let messages = 0;
    for (; Date.now() - began < msMax; rounds++) {
      const random = randomOf(seed + rounds);
      const what = `FUZZ_SEED=${seed + rounds}`;
      const windowBytes = [1, 100, 20_000, 65_535, 1 << 20][1 + random(4)] as number;
      const changes: Partial<ConnectionOptions> = {
        streamWindowBytes: windowBytes,
        connectionWindowBytes: [65_535, 200_000, 1 << 20][random(3)] as number,
        frameBytesMax: [16_384, 1 << 20][random(2)] as number,
        backlogBytesMax: [1, 1000, 100_000][random(3)] as number,
        maxConcurrentStreams: 50,
      };
      const [near, far] = duplexPair();
      const atClient: Exchanges = new Map();
      const atServer: Exchanges = new Map();
      const answering =
        server === 'engine' ? engineServer(far, atServer, changes) : nodeServer(far, atServer, windowBytes);
      const asking =
        client === 'engine' ? engineClient(near, atClient, changes) : nodeClient(near, atClient, windowBytes);
      const plans = Array.from({ length: 1 + random(25) }, (_, id) => randomPlan(random, id));
      // Small windows take a turn of both ends for each few bytes.
      if (windowBytes === 100) plans.splice(4);
      messages += plans.length;
      await Promise.race([
        Promise.all(plans.map((plan) => exchange(asking.request, plan, random))),
        sleep(roundMsMax, undefined, { ref: false }).then(() => {
          throw new Error(
            `${what}: ${asking.openStreams} streams of the client are open, ${answering.openStreams} of the server`,
          );
        }),
      ]);
      for (let i = 0; i < 100 && answering.openStreams > 0; i++) await sleep(1);
      assert.equal(answering.openStreams, 0, what);
      assert.equal(asking.openStreams, 0, what);
      for (const plan of plans) {
        const seen = { ...atServer.get(plan.id), ...atClient.get(plan.id) };
        const wanted = expected(plan);
        if (plan.resetBy === undefined) assert.deepEqual(seen, wanted, `${what} ${JSON.stringify(plan)}`);
        // A part of the messages may be missing; what has arrived is right.
        else {
          for (const name of Object.keys(wanted) as (keyof typeof wanted)[])
            if (seen[name] !== undefined)
              assert.equal(seen[name], wanted[name], `${what} ${JSON.stringify(plan)} ${name}`);
        }
      }
      asking.destroy();
      answering.destroy();
      await sleep(1);
      near.destroy();
      far.destroy();
    }
    assert.ok(messages > 0);
  });
}

/** Begins when there is room for a stream, and ends when the stream has closed. */
async function exchange(
  request: (plan: Plan, done: () => void) => boolean,
  plan: Plan,
  random: (below: number) => number,
): Promise<void> {
  await sleep(random(10));
  await new Promise<void>((resolve) => {
    const begin = (): void => {
      if (!request(plan, resolve)) setTimeout(begin, 1);
    };
    begin();
  });
}
after(() => console.error(`FUZZ_SEED=${seed}`));
