import assert from 'node:assert/strict';
import { test } from 'node:test';
import { otherName } from '../model/edge.js';
import { PathTemplates, templatesInAllMax, templatesMax } from './path-templates.js';

test('templates are bounded for each group of clients of a destination', () => {
  let limits = 0;
  const templates = new PathTemplates(() => limits++);
  for (let i = 0; i < templatesMax; i++) assert.equal(templates.known(`/${i}`, 'api', 'shop'), `/${i}`);
  assert.equal(templates.known('/more', 'api', 'shop'), otherName);
  assert.equal(templates.known('/0', 'api', 'shop'), '/0');
  assert.equal(templates.known('/more', 'api', 'other-group'), '/more');
  assert.equal(templates.known('/more', 'another', 'shop'), '/more');
  assert.equal(limits, 1);
});

test('a client that makes up ports and paths does not grow what is kept, whatever others do', () => {
  const templates = new PathTemplates(() => undefined);
  for (let port = 0; port < 1_000; port++)
    for (let i = 0; i < templatesMax; i++) {
      templates.known(`/${i}`, `evil/pod:${port}`, 'evil');
      assert.ok(templates.size <= templatesInAllMax);
    }
  assert.equal(templates.known('/orders', 'api', 'shop'), '/orders');
});
