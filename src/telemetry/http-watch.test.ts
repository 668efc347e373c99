import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { HttpWatch, waitingCharsMax, waitingMax } from './http-watch.js';
import { headBytesMax } from './http1-reader.js';

type Client = 'pod' | 'peer';
/** Its name, then in any order: bytes of the client (>), bytes of the server (<), and what is seen (=). The carrier has the same table. */
const exchanges = JSON.parse(
  readFileSync(new URL('./http1-exchanges.json', import.meta.url), 'utf8'),
) as readonly (readonly string[])[];

function watchOf(client: Client) {
  const seen: string[] = [];
  const limits = { reached: 0 };
  const watch = new HttpWatch({
    client,
    onRequest: ({ method, pathTemplate, status, durationMs }) => {
      assert.ok(durationMs >= 0);
      seen.push(`=${method} ${pathTemplate} ${status}`);
    },
    onLimit: () => limits.reached++,
  });
  const give = (isRequest: boolean, text: string): void => {
    const bytes = Buffer.from(text, 'latin1');
    if (isRequest === (client === 'pod')) watch.sent(bytes);
    else watch.received(bytes);
  };
  return {
    watch,
    seen,
    limits,
    request: (text: string) => give(true, text),
    respond: (text: string) => give(false, text),
    give,
  };
}

/** What is seen of parts that arrive in pieces, each as long as `next` says. */
function see(parts: readonly string[], client: Client, next: () => number): string[] {
  const { watch, seen, give } = watchOf(client);
  for (const part of parts) {
    if (!/^[<>]/.test(part)) continue;
    for (let at = 1; at < part.length;) {
      const piece = next();
      give(part.startsWith('>'), part.slice(at, at + piece));
      at += piece;
    }
  }
  watch.end();
  return seen;
}

const okResponse = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n';

for (const [name, ...parts] of exchanges)
  test(`requests of a connection: ${name}`, () => {
    const expected = parts.filter((part) => part.startsWith('='));
    for (const client of ['pod', 'peer'] as const)
      for (const piece of [1, 2, 3, 7, 1_000])
        assert.deepEqual(
          see(parts, client, () => piece),
          expected,
        );
  });

test('bytes of any content, split in any way, are seen in the same way', () => {
  const texts = exchanges.flatMap((row) => row.slice(1).filter((part) => /^[<>]/.test(part)));
  let found = 0;
  for (let round = 0; round < 3_000; round++) {
    const parts = Array.from({ length: 1 + randomInt(6) }, () => {
      const part = texts[randomInt(texts.length)] ?? '';
      if (randomInt(3) > 0) return part;
      const at = 1 + randomInt(part.length);
      return part.slice(0, at) + String.fromCharCode(randomInt(256)) + part.slice(at + randomInt(3));
    });
    const whole = see(parts, 'pod', () => 1_000_000);
    assert.deepEqual(
      see(parts, 'pod', () => 1 + randomInt(9)),
      whole,
      JSON.stringify(parts),
    );
    found += whole.length;
  }
  assert.ok(found > 200, `${found}`);
});

test('a head of 64 KiB ends it, a body of any size does not', () => {
  const { seen, limits, request, respond } = watchOf('pod');
  request('POST /a HTTP/1.1\r\ncontent-length: 10000000\r\n\r\n');
  for (let i = 0; i < 100; i++) request('a'.repeat(100_000));
  respond(okResponse);
  assert.deepEqual(seen, ['=POST /a 200']);
  request(`GET /b HTTP/1.1\r\ncookie: ${'a'.repeat(headBytesMax)}\r\n\r\n`);
  respond(okResponse);
  assert.equal(limits.reached, 1);
  assert.equal(seen.length, 1);
});

test('long paths of requests that wait count as ** beyond 2048 characters, until there is room again', () => {
  const { seen, request, respond } = watchOf('pod');
  const path = '/abcdefghijklmnopqrstuvwxyz'.repeat(8);
  const fit = Math.floor(waitingCharsMax / path.length);
  for (let i = 0; i <= fit; i++) request(`GET ${path} HTTP/1.1\r\n\r\n`);
  for (let i = 0; i <= fit; i++) respond(okResponse);
  assert.deepEqual(seen, [...Array.from({ length: fit }, () => `=GET ${path} 200`), '=GET ** 200']);
  request(`GET ${path} HTTP/1.1\r\n\r\n`);
  respond(okResponse);
  assert.equal(seen.at(-1), `=GET ${path} 200`);
});

test('as many requests as may wait are counted, and one more ends it', () => {
  for (const more of [0, 1]) {
    const { seen, limits, request, respond } = watchOf('pod');
    for (let i = 0; i < waitingMax + more; i++) request('GET /a HTTP/1.1\r\n\r\n');
    assert.equal(limits.reached, more);
    for (let i = 0; i < waitingMax + more; i++) respond(okResponse);
    assert.equal(seen.length, more > 0 ? 0 : waitingMax);
  }
});
