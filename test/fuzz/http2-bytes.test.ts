/** Octets that are no HTTP/2, or almost: nothing throws, the connection ends or goes on, and nothing stays. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Transport, TransportListener } from '../../src/http2/http2.js';
import { createConnection } from '../../src/http2/connection.js';
import { engineOptions, turns } from '../support/http2-engine.js';
import { frame, preface } from '../support/http2-frames.js';
import { ScriptWriter } from '../support/http2-scripts.js';
import { randomOf } from '../support/random.js';

/** FUZZ_SEED=n repeats a failed run, FUZZ_MS=n sets the duration of each test. */
const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1e9);
const msMax = Number(process.env['FUZZ_MS'] ?? 1_500);

/** A transport that takes everything, and counts. */
class Sink implements Transport {
  listener: TransportListener | undefined;
  readonly depth = 0;
  isOpen = true;
  bytes = 0;

  write(buffers: readonly Buffer[]): boolean {
    for (const one of buffers) this.bytes += one.length;
    return true;
  }
  end(): void {
    this.isOpen = false;
    setImmediate(() => this.listener?.onClose(undefined));
  }
  destroy(): void {
    this.end();
  }
  pause(): void {}
  resume(): void {}
}

for (const role of ['server', 'client'] as const) {
  test(`random octets to a ${role} never throw, and leave nothing open`, async () => {
    const began = Date.now();
    let heapAfterFirst = 0;
    for (let round = 0; Date.now() - began < msMax; round++) {
      const random = randomOf(seed + round);
      const sink = new Sink();
      const seen = { opened: 0, closed: 0, ended: 0, reset: 0 };
      const listener = {
        onInterim() {},
        onHead() {},
        onData() {},
        onEnd: () => void seen.ended++,
        onDrain() {},
        onReset: () => void seen.reset++,
      };
      const connection = createConnection(sink, engineOptions(role), {
        onStream(stream, _fields, endStream) {
          seen.opened++;
          stream.listener = listener;
          if (random(2) === 0) stream.respond([':status', '200'], endStream);
          if (random(4) === 0) stream.reset(8);
          if (random(4) === 0) stream.pause();
        },
        onSettings() {},
        onGoAway() {},
        onStreamClosed: () => void seen.closed++,
        onClose() {},
      });
      if (role === 'client')
        for (let i = 0; i < 3; i++) {
          const stream = connection.request(
            [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a'],
            i > 0,
          );
          assert.ok(stream);
          seen.opened++;
          stream.listener = listener;
        }
      let bytes = Buffer.concat([role === 'server' ? preface : Buffer.alloc(0), octets(random, role)]);
      while (bytes.length > 0 && !connection.isClosed) {
        const length = 1 + random(random(3) === 0 ? 5 : 3000);
        sink.listener?.onData(bytes.subarray(0, length));
        bytes = bytes.subarray(length);
        if (random(3) === 0) await turns(1);
      }
      sink.listener?.onEnd();
      connection.destroy();
      sink.listener?.onClose(undefined);
      await turns(3);
      const what = `FUZZ_SEED=${seed + round}`;
      assert.equal(connection.openStreams, 0, what);
      assert.equal(seen.closed, seen.opened, what);
      assert.ok(sink.bytes < 200_000, `${what}: ${sink.bytes} bytes in response`);
      if (round === 100) heapAfterFirst = process.memoryUsage().heapUsed;
    }
    assert.ok(heapAfterFirst === 0 || process.memoryUsage().heapUsed - heapAfterFirst < 60e6);
  });
}

function octets(random: (below: number) => number, role: 'server' | 'client'): Buffer {
  const kind = random(3);
  const noise = Buffer.from(Array.from({ length: random(500) }, () => random(256)));
  if (kind === 0) return noise;
  if (kind === 1) {
    // Frames of random contents.
    const frames = [frame(4, 0, 0)];
    for (let i = random(60); i > 0; i--) {
      const payload = Buffer.from(
        Array.from({ length: [0, 4, 5, 8, 20, 60][random(6)] as number }, () => random(256)),
      );
      frames.push(frame(random(11), random(256), random(8), payload));
    }
    return Buffer.concat(frames);
  }
  // A valid script, with noise in the middle.
  const script = Buffer.concat(
    new ScriptWriter(random, role === 'server' ? 'to-server' : 'to-client', 3).write(20),
  );
  const at = random(script.length);
  return Buffer.concat([script.subarray(0, at), noise, script.subarray(at)]);
}
after(() => console.error(`FUZZ_SEED=${seed}`));
