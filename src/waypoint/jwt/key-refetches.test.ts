import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeyRefetches, keyRefetchLimits, KeyRefetchRequests } from './key-refetches.js';

function refetchesOf() {
  const asked: string[] = [];
  const now = { ms: 0 };
  return {
    asked,
    now,
    refetches: new KeyRefetches(
      (uri) => asked.push(uri),
      () => now.ms,
    ),
  };
}

test('a set is asked for at once, and again only after the interval, however many tokens name unknown keys', () => {
  const { asked, now, refetches } = refetchesOf();
  for (let i = 0; i < 10_000; i++) refetches.want('https://a');
  assert.deepEqual(asked, ['https://a']);
  refetches.want('https://b');
  assert.deepEqual(asked, ['https://a', 'https://b']);
  now.ms = keyRefetchLimits.intervalMs - 1;
  refetches.want('https://a');
  assert.equal(asked.length, 2);
  now.ms = keyRefetchLimits.intervalMs;
  refetches.want('https://a');
  assert.deepEqual(asked.slice(2), ['https://a']);
});

test('sets that are asked for are remembered in a bounded number, the latest ones', () => {
  const { asked, refetches } = refetchesOf();
  const all = Array.from({ length: keyRefetchLimits.sets + 1 }, (_, i) => `https://${i}`);
  for (const uri of all) refetches.want(uri);
  for (const uri of all.slice(1)) refetches.want(uri);
  assert.equal(asked.length, all.length);
  refetches.want(all[0] ?? '');
  assert.equal(asked.length, all.length + 1);
});

test('what several workers ask for is one request, with each set once', async () => {
  const sent = await new Promise<readonly string[]>((resolve) => {
    const requests = new KeyRefetchRequests(resolve);
    for (const uri of ['https://a', 'https://b', 'https://a']) requests.want(uri);
    // The timer of the requests keeps no process alive.
    setTimeout(() => undefined, 1_000);
  });
  assert.deepEqual(sent, ['https://a', 'https://b']);
});
