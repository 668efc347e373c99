/** Random frames, to the engine and to node:http2: their applications must see the same, and their peers too. */
import assert from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import { after, test } from 'node:test';
import type { Fields } from '../../src/http2/http2.js';
import { duplexPair, turns } from '../support/http2-engine.js';
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
  await turns(6);
  for (const piece of pieces.slice(1)) {
    tester.send(piece);
    await turns(6);
  }
  await tester.settle('end');
  return { application, tester };
}

/** What both ends saw, by name. */
function seenBy({ application, tester }: Outcome): Map<string, string> {
  const seen = new Map<string, string>([
    ['connection: closed', String(tester.isClosed)],
    ['connection: GOAWAY', String(tester.goAway)],
  ]);
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
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((name) => a.get(name) !== b.get(name))
    .map((name) => `${name}: ${short(a.get(name))}, node:http2: ${short(b.get(name))}`);
}

async function both(role: Role, pieces: readonly Buffer[]): Promise<{ engine: Outcome; differ: string[] }> {
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
  return { engine, differ };
}

for (const role of ['to-server', 'to-client'] as const) {
  test(`valid frames mean the same to the engine and to node:http2, ${role}`, async () => {
    const began = Date.now();
    let rounds = 0;
    for (; Date.now() - began < msMax; rounds++) {
      const random = randomOf(seed + rounds);
      const frames = new ScriptWriter(random, role, requests.length).write(5 + random(40));
      const { engine, differ } = await both(role, frames);
      assert.deepEqual(differ, [], `FUZZ_SEED=${seed + rounds}: ${engine.application.why}`);
      assert.deepEqual(engine.tester.faults, []);
      assert.equal(engine.tester.isClosed, false, engine.application.why);
    }
    assert.ok(rounds > 10);
  });
}
after(() => console.error(`FUZZ_SEED=${seed}`));
void mutate;
