/** Random frames, to the engine and to node:http2: their applications must see the same, and their peers too. */
import assert from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import { after, test } from 'node:test';
import { fragmentOf } from '../../src/http2/header-blocks.js';
import { HpackDecoder } from '../../src/http2/hpack/decoder.js';
import type { Fields } from '../../src/http2/http2.js';
import { duplexPair, turns } from '../support/http2-engine.js';
import { endHeaders, frameType, framesOf, preface } from '../support/http2-frames.js';
import { headId, mutate, ScriptWriter } from '../support/http2-scripts.js';
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
const msMax = Number(process.env['FUZZ_MS'] ?? 1_500);
type Role = 'to-server' | 'to-client';

const requests: readonly Fields[] = [1, 2, 3, 4, 5, 6].map((n) => [
  ...[
    ':method',
    n * 2 - 1 === headId ? 'HEAD' : 'GET',
    ':scheme',
    'http',
    ':path',
    `/${n}`,
    ':authority',
    'a.test',
  ],
]);

/** What both ends of a connection saw. */
interface Outcome {
  readonly seen: ReadonlyMap<string, string>;
  readonly isEnded: boolean;
  readonly why: string;
  readonly faults: readonly string[];
}

async function run(
  role: Role,
  on: (socket: Duplex) => Application,
  pieces: readonly Buffer[],
): Promise<Outcome> {
  const [near, far] = duplexPair();
  const application = on(near);
  const tester = new Tester(far, role === 'to-client' ? preface.length : 0);
  // Before anything is read, so that no acknowledgment is ahead of the first SETTINGS.
  tester.send(Buffer.concat([role === 'to-server' ? preface : Buffer.alloc(0), pieces[0] as Buffer]));
  for (const piece of pieces.slice(1)) {
    await tester.quiet(6);
    if (tester.isEnded) break;
    tester.send(piece);
  }
  await tester.settle();
  const { isEnded, faults } = tester;
  const outcome = { seen: seenBy(application, tester), isEnded, why: application.why, faults };
  // In this order: node:http2 20 aborts the process if it has to free a session whose socket went first.
  application.destroy();
  await turns(4);
  tester.socket.destroy();
  return outcome;
}

function seenBy(application: Application, tester: Tester): Map<string, string> {
  const seen = new Map([['connection: ended', String(tester.isEnded)]]);
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

async function both(
  role: Role,
  pieces: readonly Buffer[],
): Promise<{ engine: Outcome; node: Outcome; differ: string[] }> {
  const server = role === 'to-server';
  const [engine, node] = await Promise.all([
    run(role, server ? engineServerOn : (socket) => engineClientOn(socket, requests), pieces),
    run(role, server ? nodeServerOn : (socket) => nodeClientOn(socket, requests), pieces),
  ]);
  const [a, b] = [engine.seen, node.seen];
  const short = (text = 'nothing'): string => (text.length < 200 ? text : `${text.length} characters`);
  // What was under way when both have ended the connection depends on what had been handed on.
  const isOver = engine.isEnded && node.isEnded;
  // A stream that the peer resets with NO_ERROR has ended for node:http2. How far a response got before its reset depends on the windows: nghttp2 does not even send END_STREAM without one.
  const reset = resetStreams(pieces);
  const differ = [...new Set([...a.keys(), ...b.keys()])]
    .filter((name) => !/^peer|(reset|isEnded)$/.test(name) || !reset.has(idOf(name)))
    .filter((name) => !isOver || (/^application.*: head$/.test(name) && a.has(name) && b.has(name)))
    .filter((name) => a.get(name) !== b.get(name))
    .map((name) => `${name}: ${short(a.get(name))}, node:http2: ${short(b.get(name))}`);
  return { engine, node, differ };
}

const idOf = (name: string): string => /^\w+ (\d+):/.exec(name)?.[1] ?? '';

function resetStreams(frames: readonly Buffer[]): Set<string> {
  const all = framesOf(Buffer.concat(frames));
  return new Set(all.filter(({ type }) => type === frameType.rst).map(({ stream }) => String(stream)));
}

/** The identifiers of all settings. */
function settingsOf(frames: readonly Buffer[]): number[] {
  const payloads = framesOf(Buffer.concat(frames)).filter(({ type }) => type === frameType.settings);
  return payloads.flatMap(({ payload }) =>
    Array.from({ length: Math.floor(payload.length / 6) }, (_, n) => payload.readUInt16BE(n * 6)),
  );
}

/** Streams with a header block whose fields are invalid. */
function malformedStreams(frames: readonly Buffer[]): Set<string> {
  const ids = new Set<string>();
  const decoder = new HpackDecoder(4096);
  let block: Buffer[] = [];
  for (const { type, flags, stream, payload } of framesOf(Buffer.concat(frames))) {
    if (type !== frameType.headers && type !== frameType.continuation) continue;
    block.push(type === frameType.headers ? (fragmentOf(flags, payload) ?? Buffer.alloc(0)) : payload);
    if ((flags & endHeaders) === 0) continue;
    const result = decoder.decode(Buffer.concat(block), [], {
      headerListBytesMax: 1e6,
      headerFieldsMax: 1e3,
    });
    if (result === 'malformed') ids.add(String(stream));
    block = [];
  }
  return ids;
}

/** Streams whose whole body both have sent, while only the engine has ended them: nghttp2 does not end a stream (here by trailers) while a window is empty. */
function awaitingWindow(engine: Outcome, node: Outcome): Set<string> {
  const ids = new Set<string>();
  for (const [name, isEnded] of engine.seen) {
    const id = idOf(name);
    if (name !== `peer ${id}: isEnded` || isEnded !== 'true' || node.seen.get(name) !== 'false') continue;
    const [bodies, heads] = ['body', 'heads'].map((part) =>
      [engine, node].map(
        ({ seen }) => JSON.parse(seen.get(`peer ${id}: ${part}`) ?? '""') as string | string[],
      ),
    );
    const bytes = Number(/x-bytes\n(\d+)/.exec(heads?.[1]?.[0] ?? '')?.[1]);
    if (bodies?.every((body) => body.length === bytes)) ids.add(id);
  }
  return ids;
}

/** The octets of all bodies that the peer has received. */
function octetsSent({ seen }: Outcome): number {
  let sum = 0;
  for (const [name, value] of seen)
    if (/^peer \d+: body$/.test(name)) sum += (JSON.parse(value) as string).length;
  return sum;
}

/** The differences that are not deliberate. */
function unexpected(
  role: Role,
  frames: readonly Buffer[],
  { engine, node, differ }: { engine: Outcome; node: Outcome; differ: readonly string[] },
): readonly string[] {
  if (differ.length === 0) return differ;
  const endsHere = engine.isEnded && !node.isEnded;
  const endsThere = node.isEnded && !engine.isEnded;
  const has = (matches: (type: number, flags: number) => boolean): boolean =>
    framesOf(Buffer.concat(frames)).some(({ type, flags }) => matches(type, flags));
  // RFC 9113, section 5.1, wants an error of type STREAM_CLOSED. node:http2 ignores such frames.
  if (endsHere && /protocol 5: (DATA|HEADERS) after/.test(engine.why)) return [];
  // node:http2 ends the connection at an acknowledgment of nothing; there is no harm in one.
  const acknowledged: number[] = [frameType.ping, frameType.settings];
  if (endsThere && has((type, flags) => acknowledged.includes(type) && (flags & 1) !== 0)) return [];
  // ALTSVC and ORIGIN are known to node:http2, which checks them; other endpoints ignore them.
  if (endsThere && has((type) => type === 10 || type === 12)) return [];
  // After GOAWAY with an error, streams that the peer has accepted may still complete; node:http2 ends them.
  if (endsThere && has((type) => type === frameType.goaway)) return [];
  // node:http2 checks PRIORITY only where it still uses priorities.
  if (endsHere && /protocol 1: (a stream that depends on itself|PRIORITY without a stream)/.test(engine.why))
    return [];
  // Padding is checked on streams that have closed, too.
  if (endsHere && /protocol 1: padding exceeds the frame/.test(engine.why)) return [];
  // An error of one stream ends the whole connection in some versions of node:http2.
  if (endsThere && /stream reset, (?!the peer reset)/.test(engine.why)) return [];
  // node:http2 ignores the frame if it is empty.
  if (role === 'to-client' && /DATA before HEADERS/.test(engine.why)) return [];
  // nghttp2 checks the values of settings 8 and 9 (RFC 8441, RFC 9218), which the engine does not know.
  if (endsThere && settingsOf(frames).some((id) => id === 8 || id === 9)) return [];
  // node:http2 sends heads that are larger than the peer accepts.
  if (/the peer accepts at most \d+ bytes of header fields/.test(engine.why)) return [];
  // Older versions of nghttp2 pass on a status below 100.
  if (/stream reset, :status is missing or invalid/.test(engine.why)) return [];
  // node:http2 limits them to eight in newer versions.
  if (endsThere && /Too many CONTINUATION frames/.test(node.why)) return [];
  const waiting = role === 'to-server' ? awaitingWindow(engine, node) : new Set<string>();
  // The window of the connection is used up: which streams got what part of it depends on their order.
  if (
    octetsSent(engine) === octetsSent(node) &&
    differ.filter((one) => /^peer \d+: body/.test(one)).length > 1
  )
    differ = differ.filter((one) => !/^peer \d+: (body|isEnded|heads)/.test(one));
  // nghttp2 drops fields with invalid characters; such a message is malformed (RFC 9113, section 8.2.1), and is not passed on.
  const malformed = malformedStreams(frames);
  return differ.filter((one) => !malformed.has(idOf(one)) && !waiting.has(idOf(one)));
}

for (const role of ['to-server', 'to-client'] as const) {
  test(`valid frames mean the same to the engine and to node:http2, ${role}`, async () => {
    const began = Date.now();
    let rounds = 0;
    for (; Date.now() - began < msMax; rounds++) {
      const random = randomOf(seed + rounds);
      const frames = new ScriptWriter(random, role, requests.length).write(5 + random(40));
      const { engine, node, differ } = await both(role, frames);
      const what = `FUZZ_SEED=${seed + rounds}; engine: ${engine.why}; node:http2: ${node.why}`;
      assert.deepEqual(differ, [], what);
      assert.deepEqual(engine.faults, [], what);
      assert.equal(engine.isEnded, false, what);
    }
    assert.ok(rounds > 0);
  });
}
for (const role of ['to-server', 'to-client'] as const) {
  test(`changed frames have the same effect on the engine and on node:http2, ${role}`, async () => {
    const began = Date.now();
    for (let round = 0; Date.now() - began < msMax; round++) {
      const random = randomOf(seed + round);
      const frames = new ScriptWriter(random, role, requests.length).write(5 + random(40));
      const change = mutate(frames, random);
      const outcome = await both(role, frames);
      const what = `FUZZ_SEED=${seed + round}: ${change}; engine: ${outcome.engine.why}; node:http2: ${outcome.node.why}`;
      assert.deepEqual(unexpected(role, frames, outcome), [], what);
      assert.deepEqual(outcome.engine.faults, [], what);
    }
  });
}
after(() => console.error(`FUZZ_SEED=${seed}`));
