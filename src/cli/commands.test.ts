import assert from 'node:assert/strict';
import { test } from 'node:test';
import { entries, loadCommands } from './commands.js';

test('each command is found by its name, and no other code is loaded for it', async () => {
  for (const { names, load } of entries)
    assert.deepEqual(
      (await load()).map((one) => one.name()),
      names,
    );
  assert.deepEqual(
    (await loadCommands('explain')).map((one) => one.name()),
    ['explain'],
  );
});

test('help and errors know all commands', async () => {
  const all = entries.flatMap(({ names }) => names);
  for (const name of [undefined, '--help', 'help', 'nothing'])
    assert.deepEqual(
      (await loadCommands(name)).map((one) => one.name()),
      all,
    );
  assert.deepEqual(await loadCommands('--version'), []);
});
