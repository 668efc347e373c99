import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { edge } from '../../test/support/edges.js';
import { decodeEdge, encodeEdge } from '../discovery/codec/edge.js';
import { pathTemplate } from './path-template.js';

test('segments that look like identifiers become *, words and versions stay', () => {
  const templates: Readonly<Record<string, string>> = {
    '/': '/',
    '/orders': '/orders',
    '/orders/17': '/orders/*',
    '/orders/17/items/3?sort=a/b': '/orders/*/items/*',
    '/v1/users/8c7f0f4e-2b1f-4d0e-9e0b-5a5a5a5a5a5a': '/v1/users/*',
    '/apis/v1beta1/things': '/apis/v1beta1/things',
    '/blobs/deadbeefcafe': '/blobs/*',
    '/users/user-1234': '/users/*',
    '/days/2024-05-06/log': '/days/*/log',
    '/u/a%20b': '/u/*',
    '/u/bob@example.org': '/u/*',
    '/u/böb': '/u/*',
    '/t/abcdefghijklmnopqrstuvwxyzabcdefghijklmnop': '/t/*',
    '/google.cloud.bigquery.storage.v1.BigQueryRead/ReadRows':
      '/google.cloud.bigquery.storage.v1.BigQueryRead/ReadRows',
    '/grpc.health.v1.Health/Check': '/grpc.health.v1.Health/Check',
    '/books:batchGet': '/books:batchGet',
    '/a;session=secret': '/a',
    '/a#b': '/a',
    '/a/b/c/d/e/f/g/h': '/a/b/c/d/e/f/g/h',
    '/a/b/c/d/e/f/g/h/i/j': '/a/b/c/d/e/f/g/h/**',
    '*': '**',
    'shop.example:443': '**',
    '': '**',
  };
  for (const [path, template] of Object.entries(templates)) assert.equal(pathTemplate(path), template, path);
});

test('a path of long names with dots has a template that a report may contain', () => {
  const name = `/${'abcdefgh.'.repeat(13)}abcdefgh`;
  const template = pathTemplate(name.repeat(8));
  assert.equal(template, `${name.repeat(3)}/**`);
  const made = edge({ pathTemplate: template });
  assert.deepEqual(decodeEdge(encodeEdge(made)), made);
});

test('a template is bounded, has no query and is its own template, whatever the path', () => {
  const alphabet = '/abcdefghijklmnopqrstuvwxyz0123456789.%?#;:-_~@é\u0000';
  for (let round = 0; round < 5_000; round++) {
    const length = randomInt(round % 100 === 0 ? 5_000 : 120);
    const path = Array.from({ length }, () => alphabet[randomInt(alphabet.length)] ?? '').join('');
    const template = pathTemplate(round % 2 === 0 ? path : `/${path}`);
    assert.ok(template.length <= 403, path);
    assert.doesNotMatch(template, /[?#;%\u0000é]/, path);
    if (template.startsWith('/') && !/[*]/.test(template))
      assert.equal(pathTemplate(template), template, path);
  }
});
