import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SharedResponses, type Route } from './servers.js';

test('what whoever is not trusted asks for is made once in a second, however many ask', async () => {
  let made = 0;
  const route: Route = { contentType: 'text/plain', read: ({ trusted }) => `${++made} ${trusted}` };
  const shared = new SharedResponses();
  const bodies = await Promise.all(Array.from({ length: 1_000 }, (_, i) => shared.read(route, i / 2)));
  assert.deepEqual([...new Set(bodies)], ['1 false']);
  assert.equal(await shared.read(route, 1_000), '2 false');
});

test('a failure is told to those who asked at the time, and tried again', async () => {
  let broken = true;
  const route: Route = {
    contentType: 'text/plain',
    read: () => (broken ? Promise.reject(new Error('broken')) : 'whole'),
  };
  const shared = new SharedResponses();
  await assert.rejects(shared.read(route, 0), /broken/);
  broken = false;
  assert.equal(await shared.read(route, 1_001), 'whole');
});
