/** What a client may do with frames: each attack ends its connection or stays bounded, is counted, and costs other clients nothing. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { ask2, connect } from '../../../test/support/http2-client.js';
import {
  block,
  endHeaders,
  endStream,
  frame,
  framesOf,
  frameType,
  preface,
  pseudo,
  request,
  rst,
  settings,
  settingsAck,
  u32,
} from '../../../test/support/http2-frames.js';
import {
  eventually,
  httpUpstream,
  RawClient,
  startWaypoint,
  type TestWaypoint,
} from '../../../test/support/waypoint.js';

/** More than the garbage of a test; an attack that accumulates takes more. */
const memoryBytesMax = 150e6;

const times = (count: number, one: (i: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => one(i)));
const id = (i: number): number => 2 * i + 1;
const hang = pseudo('/hang');
const open = (stream: number, ...more: [string, string][]): Buffer =>
  frame(frameType.headers, endHeaders, stream, block(...pseudo('/hang', 'POST'), ...more));
const setting = (identifier: number, value: number): Buffer =>
  frame(frameType.settings, 0, 0, Buffer.concat([Buffer.from([0, identifier]), u32(value)]));
const initialWindowSize = 4;

/** One entry of HPACK's table of 4000 bytes, and `references` to it of one byte each. */
const bomb = (references: number): Buffer =>
  Buffer.concat([
    block(...pseudo()),
    Buffer.from([0x40, 1]),
    Buffer.from('x'),
    Buffer.from([0x7f, 0x81, 0x1e]),
    Buffer.alloc(4_000, 'y'),
    Buffer.alloc(references, 0x80 | 62),
  ]);

/** Attacks that end their connection, with the reason that is counted. */
const floods: Record<string, { readonly bytes: () => Buffer; readonly why: RegExp }> = {
  'rapid reset (CVE-2023-44487)': {
    bytes: () => times(5_000, (i) => Buffer.concat([request(id(i), ...hang), rst(id(i), 8)])),
    why: /streams that were reset/,
  },
  'resets that the client provokes (CVE-2025-8671): a window update of 0': {
    bytes: () =>
      times(5_000, (i) =>
        Buffer.concat([request(id(i), ...hang), frame(frameType.window, 0, id(i), u32(0))]),
      ),
    why: /streams that were reset/,
  },
  'resets that the client provokes: a window that is too large': {
    bytes: () =>
      times(5_000, (i) =>
        Buffer.concat([request(id(i), ...hang), frame(frameType.window, 0, id(i), u32(0x7fffffff))]),
      ),
    why: /streams that were reset/,
  },
  'resets that the client provokes: malformed heads': {
    bytes: () => times(5_000, (i) => request(id(i), ...hang, ['connection', 'close'])),
    why: /streams that were reset/,
  },
  'header bombs': {
    bytes: () => times(1_500, (i) => frame(frameType.headers, endHeaders | endStream, id(i), bomb(1_000))),
    why: /streams that were reset/,
  },
  'streams beyond the maximum': {
    bytes: () => times(5_000, (i) => request(id(i), ...hang)),
    why: /streams beyond the announced maximum/,
  },
  CONTINUATION: {
    bytes: () =>
      Buffer.concat([
        frame(frameType.headers, 0, 1, block(...pseudo())),
        times(2_000, () =>
          frame(
            frameType.continuation,
            0,
            1,
            block(...Array.from({ length: 20 }, (_, i): [string, string] => [`x${i}`, 'y'.repeat(500)])),
          ),
        ),
      ]),
    why: /a header block of more than/,
  },
  'empty CONTINUATION': {
    bytes: () =>
      Buffer.concat([
        frame(frameType.headers, 0, 1, block(...pseudo())),
        times(50_000, () => frame(frameType.continuation, 0, 1)),
      ]),
    why: /a header block of more than/,
  },
  SETTINGS: { bytes: () => times(20_000, () => setting(3, 5)), why: /SETTINGS/ },
  'SETTINGS that toggle all windows': {
    bytes: () =>
      Buffer.concat([
        times(100, (i) => request(id(i), ...hang)),
        times(5_000, (i) => setting(initialWindowSize, i % 2 === 0 ? 0 : 65_535)),
      ]),
    why: /SETTINGS/,
  },
  PING: { bytes: () => times(50_000, () => frame(frameType.ping, 0, 0, Buffer.alloc(8))), why: /PING/ },
  PRIORITY: {
    bytes: () => times(50_000, (i) => frame(frameType.priority, 0, id(i), Buffer.alloc(5))),
    why: /PRIORITY/,
  },
  'frames of unknown types': {
    bytes: () => times(50_000, () => frame(0xbb, 0, 0, Buffer.alloc(8))),
    why: /unknown types/,
  },
  'empty DATA': {
    bytes: () => Buffer.concat([open(1), times(50_000, () => frame(frameType.data, 0, 1))]),
    why: /empty DATA/,
  },
  WINDOW_UPDATE: {
    bytes: () =>
      Buffer.concat([request(1, ...hang), times(50_000, () => frame(frameType.window, 0, 1, u32(1)))]),
    why: /WINDOW_UPDATE/,
  },
};

interface Attacked {
  readonly waypoint: TestWaypoint;
  /** The client's bytes after the preface and SETTINGS. */
  attack(bytes: Buffer): Promise<RawClient>;
  /** Requests that the endpoint has received. */
  readonly seen: () => number;
}

async function underAttack(t: TestContext, limits = {}): Promise<Attacked> {
  let seen = 0;
  const upstream = await httpUpstream(t, (req, response) => {
    seen++;
    response.on('error', () => undefined);
    req.resume();
    if (req.url === '/endless') {
      const more = (): void => {
        while (response.write(Buffer.alloc(64 << 10)));
      };
      response.on('drain', more);
      more();
    } else if (req.url === '/bytes') response.end('x'.repeat(2_000));
    else if (req.url !== '/hang') response.end('ok');
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http1', limits });
  return {
    waypoint,
    seen: () => seen,
    attack: async (bytes) => {
      const client = await RawClient.open(waypoint.port);
      t.after(() => client.socket.destroy());
      return client.write(Buffer.concat([preface, settings, settingsAck, bytes]));
    },
  };
}

async function othersAreServed(t: TestContext, { waypoint }: Attacked): Promise<void> {
  assert.equal(
    (await ask2(connect(t, waypoint.port), { ':path': '/' })).body,
    'ok',
    'another client is served',
  );
}

for (const [name, { bytes, why }] of Object.entries(floods)) {
  test(`flood: ${name}`, async (t) => {
    const attacked = await underAttack(t);
    const { waypoint } = attacked;
    const sent = bytes();
    const before = process.memoryUsage().rss;
    const client = await attacked.attack(sent);
    await eventually(() => waypoint.limitsReached.includes('http2-flood'), 'it is counted');
    await client.untilClosed();
    assert.match(waypoint.unreadable.at(-1) ?? '', why);
    assert.ok(attacked.seen() < 2_000, `${attacked.seen()} requests reached the endpoint`);
    await eventually(
      () => waypoint.context.exchanges.size === 0 && waypoint.context.connections.size === 0,
      'nothing is left open',
    );
    await othersAreServed(t, attacked);
    const grown = process.memoryUsage().rss - before;
    assert.ok(grown < memoryBytesMax, `${grown} bytes more`);
  });
}

test('a header bomb is refused, and its connection goes on', async (t) => {
  const attacked = await underAttack(t);
  const client = await attacked.attack(
    Buffer.concat([
      frame(frameType.headers, endHeaders | endStream, 1, bomb(10_000)),
      request(3, ...pseudo()),
    ]),
  );
  const responded = (): boolean =>
    framesOf(Buffer.from(client.text, 'latin1')).some(
      ({ type, stream }) => type === frameType.headers && stream === 3,
    );
  await eventually(responded, 'the next request is served');
  assert.equal(attacked.seen(), 1);
});

test('a header block that stays incomplete ends its connection, and is counted', async (t) => {
  const attacked = await underAttack(t, { headTimeoutMsMax: 200 });
  for (const half of [
    frame(frameType.headers, 0, 1, block(...pseudo())),
    frame(frameType.headers, endHeaders, 1, block(...pseudo())).subarray(0, -3),
    Buffer.concat([frame(frameType.headers, 0, 1, block(...pseudo())), Buffer.from([0, 0, 9])]),
  ]) {
    const client = await attacked.attack(half);
    await client.untilClosed();
    assert.equal(attacked.waypoint.unreadable.at(-1), "408 a request's head did not arrive in time");
    await othersAreServed(t, attacked);
  }
  assert.equal(attacked.waypoint.unreadable.length, 3);
});

test('a client without SETTINGS ends its connection, and is counted', async (t) => {
  const attacked = await underAttack(t, { headTimeoutMsMax: 200 });
  const client = await RawClient.open(attacked.waypoint.port);
  t.after(() => client.socket.destroy());
  client.write(preface);
  await client.untilClosed();
  assert.match(attacked.waypoint.unreadable.at(-1) ?? '', /^408 /);
});

test('a body that does not arrive ends its stream, and its connection goes on', async (t) => {
  const attacked = await underAttack(t, { bodyIdleMsMax: 200 });
  const { waypoint } = attacked;
  const client = await attacked.attack(
    Buffer.concat([open(1), frame(frameType.data, 0, 1, Buffer.from('slow'))]),
  );
  await eventually(() => waypoint.records.length === 1, 'it ends');
  assert.deepEqual([waypoint.records[0]?.status, waypoint.records[0]?.flag], [408, 'DPE']);
  client.write(request(3, ...pseudo()));
  await eventually(() => waypoint.records.length === 2, 'the next request is served');
  assert.equal(waypoint.records[1]?.status, 200);
});

test('a client that does not read bounds what is read for it', async (t) => {
  const attacked = await underAttack(t, { openIdleMsMax: 1_000 });
  const { waypoint } = attacked;
  const before = process.memoryUsage().rss;
  const client = await attacked.attack(
    Buffer.concat([
      setting(initialWindowSize, 0x7fffffff),
      frame(frameType.window, 0, 0, u32(0x7fffffff - 65_535)),
      times(20, (i) => request(id(i), ...pseudo('/endless'))),
    ]),
  );
  client.socket.pause();
  await eventually(() => waypoint.context.exchanges.size === 20, 'all are under way');
  await othersAreServed(t, attacked);
  await eventually(() => waypoint.context.exchanges.size === 0, 'the idle timeout ends them', 10_000);
  const grown = process.memoryUsage().rss - before;
  assert.ok(grown < memoryBytesMax, `${grown} bytes more`);
  assert.ok(waypoint.records.filter(({ flag }) => flag === 'UT').length === 20, 'each is counted');
});

test('acknowledgments for a client that does not read are bounded', async (t) => {
  const attacked = await underAttack(t);
  const { waypoint } = attacked;
  const client = await attacked.attack(
    Buffer.concat([
      setting(initialWindowSize, 0x7fffffff),
      frame(frameType.window, 0, 0, u32(0x7fffffff - 65_535)),
      request(1, ...pseudo('/endless')),
    ]),
  );
  client.socket.pause();
  await eventually(() => attacked.seen() === 1, 'the response has begun');
  // Slower than the limit of PING frames by themselves.
  for (let i = 0; i < 40 && !waypoint.limitsReached.includes('http2-flood'); i++) {
    client.write(times(100, () => frame(frameType.ping, 0, 0, Buffer.alloc(8))));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await eventually(() => waypoint.limitsReached.includes('http2-flood'), 'it is counted');
  await eventually(() => waypoint.context.connections.size === 0, 'the connection ends');
  await othersAreServed(t, attacked);
});

test('windows of one byte are served, and cost other clients nothing', async (t) => {
  const attacked = await underAttack(t);
  const client = await attacked.attack(
    Buffer.concat([setting(initialWindowSize, 1), request(1, ...pseudo('/bytes'))]),
  );
  let [bytes, at, acknowledged] = [0, 0, 0];
  const end = Date.now() + 30_000;
  while (bytes < 500 && Date.now() < end && client.closed === undefined) {
    const raw = Buffer.from(client.text, 'latin1');
    for (const { type, payload } of framesOf(raw.subarray(at))) {
      at += 9 + payload.length;
      if (type === frameType.data) bytes += payload.length;
    }
    for (; acknowledged < bytes; acknowledged++) client.write(frame(frameType.window, 0, 1, u32(1)));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal(client.closed, undefined);
  assert.ok(bytes >= 500, `${bytes} bytes`);
  await othersAreServed(t, attacked);
});
