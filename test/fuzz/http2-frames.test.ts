/** Random frames, to the engine and to node:http2: their applications must see the same, and their peers too. */
import assert from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import { after, test } from 'node:test';
import type { Fields } from '../../src/http2/http2.js';
import { duplexPair } from '../support/http2-engine.js';
import { preface } from '../support/http2-frames.js';
import { mutate, ScriptWriter } from '../support/http2-scripts.js';
import { Tester } from '../support/http2-tester.js';
import {
  engineClientOn,
  engineServerOn,
  nodeClientOn,
  nodeServerOn,
  type Application,
} from '../support/http2-views.js';
import { randomOf } from '../support/random.js';

/** FUZZ_SEED=n repeats a failed run, FUZZ_MS=n sets the duration of each test. */
const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1e9);
const msMax = Number(process.env['FUZZ_MS'] ?? 5_000);
type Role = 'to-server' | 'to-client';

const requests: readonly Fields[] = [1, 2, 3, 4, 5, 6].map((n) => [
  ...[':method', n === 3 ? 'HEAD' : 'GET', ':scheme', 'http', ':path', `/${n}`, ':authority', 'a.test'],
]);

interface Outcome {
  readonly application: Application;
  readonly tester: Tester;
}
async function run(
  role: Role,
  on: (socket: Duplex) => Application,
  pieces: readonly Buffer[],
): Promise<Outcome> {
  const [near, far] = duplexPair();
  const application = on(near);
  const tester = new Tester(far, role === 'to-client' ? preface.length : 0);
  // Before anything is read, so that no acknowledgement is ahead of the first SETTINGS.
  tester.send(Buffer.concat([role === 'to-server' ? preface : Buffer.alloc(0), pieces[0] as Buffer]));
  for (const piece of pieces.slice(1)) {
    await tester.quiet(6);
    if (tester.isEnded) break;
    tester.send(piece);
  }
  await tester.settle();
  return { application, tester };
}

/** What both ends saw, by name. */
function seenBy({ application, tester }: Outcome): Map<string, string> {
  const seen = new Map<string, string>([['connection: ended', String(tester.isEnded)]]);
  const write = (where: string, values: object): void => {
    for (const [name, value] of Object.entries(values)) seen.set(`${where}: ${name}`, JSON.stringify(value));
  };
  for (const [id, stream] of application.streams) write(`application ${id}`, stream);
  for (const [id, { heads, rst, ...rest }] of tester.streams) {
    // node:http2 dates its responses, and ends each stream with RST_STREAM (NO_ERROR).
    write(`peer ${id}`, { ...rest, heads: heads.map((head) => head.replace(/\ndate\n[^\n]*/, '')) });
    if (rst) write(`peer ${id}`, { rst });
  }
  return seen;
}

function differences(engine: Outcome, node: Outcome): string[] {
  const [a, b] = [seenBy(engine), seenBy(node)];
  const short = (text: string | undefined): string =>
    text === undefined || text.length < 300 ? String(text) : `${text.length} characters`;
  // What was under way when both have ended the connection depends on what had been handed on.
  const isLate = engine.tester.isEnded && node.tester.isEnded;
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((name) => !isLate || (/^application.*: head$/.test(name) && a.has(name) && b.has(name)))
    .filter((name) => a.get(name) !== b.get(name))
    .map((name) => `${name}: ${short(a.get(name))}, node:http2: ${short(b.get(name))}`);
}

async function both(
  role: Role,
  pieces: readonly Buffer[],
): Promise<{ engine: Outcome; node: Outcome; differ: string[] }> {
  const server = role === 'to-server';
  const [engine, node] = await Promise.all([
    run(role, server ? engineServerOn : (socket) => engineClientOn(socket, requests), pieces),
    run(role, server ? nodeServerOn : (socket) => nodeClientOn(socket, requests), pieces),
  ]);
  const differ = differences(engine, node);
  for (const { tester, application } of [engine, node]) {
    application.destroy();
    tester.socket.destroy();
  }
  return { engine, node, differ };
}

for (const role of ['to-server', 'to-client'] as const) {
  test(`valid frames mean the same to the engine and to node:http2, ${role}`, async () => {
    const began = Date.now();
    let rounds = 0;
    for (; Date.now() - began < msMax; rounds++) {
      const random = randomOf(seed + rounds);
      const frames = new ScriptWriter(random, role, requests.length).write(5 + random(40));
      const { engine, node, differ } = await both(role, frames);
      assert.deepEqual(
        differ,
        [],
        `FUZZ_SEED=${seed + rounds}: ${engine.application.why}; node:http2: ${node.application.why}`,
      );
      assert.deepEqual(engine.tester.faults, []);
      assert.equal(engine.tester.isClosed, false, engine.application.why);
    }
    assert.ok(rounds > 10);
  });
}
for (const role of ['to-server', 'to-client'] as const) {
  test(`changed frames have the same effect on the engine and on node:http2, ${role}`, async () => {
    const began = Date.now();
    for (let round = 0; Date.now() - began < msMax; round++) {
      const random = randomOf(seed + round);
      const frames = new ScriptWriter(random, role, requests.length).write(5 + random(40));
      const change = mutate(frames, random);
      const { engine, node, differ } = await both(role, frames);
      if (differ.length > 0)
        console.log(
          `${role} ${seed + round} ${change} | ${engine.tester.isClosed} ${engine.tester.goAway} ${engine.application.why} | ${node.tester.isClosed} ${node.tester.goAway} ${node.application.why} | ${differ.join(' ; ')}`,
        );
    }
  });
}
after(() => console.error(`FUZZ_SEED=${seed}`));
