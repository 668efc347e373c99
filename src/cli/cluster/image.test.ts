import assert from 'node:assert/strict';
import { test } from 'node:test';
import { imageValues, namesRegistry, parseImage } from './image.js';

const digest = `sha256:${'0'.repeat(64)}`;

test('an image reference is parsed as container runtimes do: the port of a registry is not a tag', () => {
  assert.deepEqual(parseImage('r.example:5000/team/weft:1.2'), {
    repository: 'r.example:5000/team/weft',
    tag: '1.2',
  });
  assert.deepEqual(parseImage('localhost:5000/weft'), { repository: 'localhost:5000/weft' });
  assert.deepEqual(parseImage(`r.example/weft:1@${digest}`), {
    repository: 'r.example/weft',
    tag: '1',
    digest,
  });
  for (const bad of [
    '',
    'A',
    'x:',
    'r/x:a b',
    'r/x@sha256:1',
    'https://r/x',
    'r.example:port/x',
    'x:1:2',
    '/x',
  ])
    assert.throws(() => parseImage(bad), /WEFT_IMAGE_NAME|is not an image reference/, bad);
});

test('a new image clears the tag and digest of an earlier release', () => {
  assert.deepEqual(imageValues(parseImage('r.example/weft:2')), [
    'image.repository=r.example/weft',
    'image.tag=2',
    'image.digest=',
  ]);
});

test('an image name with a registry is recognized', () => {
  assert.deepEqual(
    ['weft:0.1.0', 'team/weft:1', 'r.example/weft', 'localhost/weft', 'r:5000/weft'].map(namesRegistry),
    [false, false, true, true, true],
  );
});
