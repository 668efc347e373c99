import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect, fileName, limits } from './collect.js';

const mark = (): string => '[redacted]';

test('a part that fails or never ends is an error, and the others are collected', async () => {
  const { files, errors } = await collect(
    [
      { file: 'a.json', read: () => ({ value: { a: 1 } }) },
      { file: 'b.json', read: () => Promise.reject(new Error('refused: Bearer opaque')) },
      { file: 'c.json', read: () => new Promise(() => undefined) },
      {
        file: 'd.txt',
        read: () => {
          throw new Error('thrown');
        },
      },
      { file: 'e.txt', read: () => ({ text: 'x', note: 'the last line' }) },
    ],
    mark,
    { ...limits, partMsMax: 50 },
  );
  assert.deepEqual(
    files.map(({ path }) => path),
    ['a.json', 'e.txt'],
  );
  assert.deepEqual(errors, [
    'b.json: refused: Bearer [redacted]',
    'c.json: WEFT_TIMEOUT: not read within 50 ms',
    'd.txt: thrown',
    'e.txt: the last line',
  ]);
});

test('parts and the whole report are bounded in size and time, and what is missing is said', async () => {
  const part = (file: string) => ({ file, read: () => ({ text: '.'.repeat(100) }) });
  const small = await collect([part('a.txt'), part('b.txt'), part('c.txt')], mark, {
    ...limits,
    partSizeMax: 60,
    totalSizeMax: 80,
    parallel: 1,
  });
  assert.deepEqual(
    small.files.map(({ text }) => text.length),
    [60, 20],
  );
  assert.deepEqual(small.errors, [
    'a.txt: cut: 60 of 100 characters',
    'b.txt: cut: 20 of 100 characters',
    'c.txt: cut: 0 of 100 characters',
  ]);
  const late = await collect([part('a.txt')], mark, { ...limits, totalMsMax: 0 });
  assert.deepEqual(late, { files: [], errors: ['a.txt: not read: the report took 0 ms'] });
});

test('a name that somebody else chose is one segment of a path', () => {
  assert.equal(fileName('../../etc/passwd'), '__.._etc_passwd');
  assert.equal(fileName('..'), '_');
  assert.equal(fileName(''), '_');
});
