import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { edge } from '../../test/support/edges.js';
import { decodeEdge, encodeEdge } from '../discovery/codec/edge.js';
import { pathTemplate } from './path-template.js';
import { TemplatePath } from './template-path.js';

/** The part of a path that a relay keeps. */
function kept(path: string): string {
  const part = new TemplatePath();
  for (const byte of Buffer.from(path, 'latin1')) part.add(byte);
  assert.ok(part.text.length < 1_200, path);
  return part.text;
}

test('segments that look like identifiers become *, words and versions stay', () => {
  const path = new URL('./path-templates.json', import.meta.url);
  const templates = JSON.parse(readFileSync(path, 'utf8')) as [path: string, template: string][];
  for (const [path, template] of templates) {
    assert.equal(pathTemplate(path), template, path);
    assert.equal(pathTemplate(kept(path)), template, path);
  }
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
    assert.equal(pathTemplate(kept(round % 2 === 0 ? path : `/${path}`)), template, path);
    assert.ok(template.length <= 403, path);
    assert.doesNotMatch(template, /[?#;%\u0000é]/, path);
    if (template.startsWith('/') && !/[*]/.test(template))
      assert.equal(pathTemplate(template), template, path);
  }
});
