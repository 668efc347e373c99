import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serverEvents, sessionHeaders, takeToken } from './session.js';

function storage(): { getItem(key: string): string | null; setItem(key: string, value: string): void } {
  const map = new Map<string, string>();
  return { getItem: (key) => map.get(key) ?? null, setItem: (key, value) => void map.set(key, value) };
}

test('the token of the URL is kept for reloads of the tab, and a newer one replaces it', () => {
  const kept = storage();
  assert.deepEqual(takeToken('', kept), { token: '', isFromUrl: false, hash: '' });
  assert.deepEqual(takeToken('#token=a-1', kept), { token: 'a-1', isFromUrl: true, hash: '#/' });
  assert.deepEqual(takeToken('#/graph', kept), { token: 'a-1', isFromUrl: false, hash: '#/graph' });
  assert.deepEqual(takeToken('#/graph?token=b&edge=x', kept), {
    token: 'b',
    isFromUrl: true,
    hash: '#/graph?edge=x',
  });
  assert.equal(takeToken('', kept).token, 'b');
  assert.deepEqual(sessionHeaders('b'), { authorization: 'Bearer b' });
  assert.deepEqual(sessionHeaders(''), {});
});

async function eventsOf(...parts: readonly string[]): Promise<string[]> {
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    for (const part of parts) yield new TextEncoder().encode(part);
  };
  const found: string[] = [];
  for await (const { event, data } of serverEvents(bytes())) found.push(`${event} ${data}`);
  return found;
}

test('events are read wherever the bytes are split; comments and unknown fields are none', async () => {
  const text = ': alive\n\ndata: {"a":1}\n\nevent: lost\ndata: {"count":2}\n\nid: 7\n\ndata: x\ndata: y\n\n';
  const expected = ['message {"a":1}', 'lost {"count":2}', 'message x\ny'];
  assert.deepEqual(await eventsOf(text), expected);
  assert.deepEqual(await eventsOf(...text), expected);
  assert.deepEqual(await eventsOf('data: not complete'), []);
});

test('an event without an end is refused once it is too large', async () => {
  await assert.rejects(eventsOf(`data: ${'x'.repeat(2 << 20)}`), /too large/);
});
