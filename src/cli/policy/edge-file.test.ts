import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WeftError } from '../../base/errors.js';
import { EdgeLines } from './edge-file.js';

const edge = {
  reporter: 'source',
  source: {
    namespace: 'shop',
    workload: 'web',
    pod: 'web-0',
    identity: 'spiffe://cluster.local/ns/shop/sa/web',
  },
  destination: { namespace: 'shop', workload: 'api', pod: '', identity: null },
  service: '',
  port: 80,
  path: 'hbone',
  method: '',
  pathTemplate: '',
  policy: '',
  counts: { connections: 1, refused: 0, audited: 0, requests: 0, lastSeenMs: 5 },
};
const add = (text: string): EdgeLines => {
  const lines = new EdgeLines('f');
  for (const line of text.split('\n')) lines.add(line);
  return lines;
};

test('lines are edges or answers with many; the earliest start and what is missing are kept', () => {
  const answer = JSON.stringify({ edges: [edge, edge], sinceMs: 7, missing: ['b'] });
  const read = add(`${JSON.stringify(edge)}\n\n${answer}\n${JSON.stringify({ edges: [], sinceMs: 9 })}`);
  assert.equal(read.edges.length, 3);
  assert.equal(read.edges[1]?.destination.identity, undefined);
  assert.equal(read.sinceMs, 7);
  assert.deepEqual(read.missing, ['b']);
});

test('a field of a later version is no error; any other form is, with the line', () => {
  assert.equal(add(JSON.stringify({ ...edge, newer: 1 })).edges.length, 1);
  const wrong: unknown[] = [
    null,
    1,
    [],
    {},
    { ...edge, port: 65536 },
    { ...edge, port: -1 },
    { ...edge, port: '80' },
    { ...edge, reporter: 'me' },
    { ...edge, method: 'GET\n' },
    { ...edge, service: '\u001b[2J' },
    { ...edge, source: { ...edge.source, identity: 'x' } },
    { ...edge, source: null },
    { ...edge, counts: { ...edge.counts, connections: -1 } },
    { edges: [{}] },
    { edges: [null] },
  ];
  for (const one of wrong)
    assert.throws(
      () => add(`${JSON.stringify(edge)}\n${JSON.stringify(one)}`),
      (error: unknown) =>
        error instanceof WeftError && error.code === 'WEFT_EDGES' && error.message.startsWith('f:2: '),
      JSON.stringify(one),
    );
  for (const text of ['{', 'x', '{"edges":[{}', '\u0000']) assert.throws(() => add(text), WeftError);
});
