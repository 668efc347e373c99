import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from 'commander';
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

function* all(commands: readonly Command[]): Generator<Command> {
  for (const one of commands) {
    yield one;
    yield* all(one.commands);
  }
}

test('an option that several commands have is described in the same words by all of them', async () => {
  const found = new Map<string, Set<string>>();
  for (const command of all((await Promise.all(entries.map(({ load }) => load()))).flat()))
    for (const { long = '', description } of command.options) {
      // What follows is about the command: its default, and what programs have to know.
      const words = description.replace(/(, | \(|: |; | or of ).*$/, '');
      found.set(long, (found.get(long) ?? new Set()).add(words));
    }
  const several = (name: string): readonly string[] => [...(found.get(name) ?? [])].sort();
  for (const name of [
    '--state',
    '--kubernetes',
    '--no-kubernetes',
    '--json',
    '--since',
    '--root-namespace',
    '--relay',
  ])
    assert.equal(several(name).length, 1, `${name}: ${several(name).join(' | ')}`);
  // A namespace is what is shown, where Weft is installed, where a waypoint is, or for what policies are made.
  assert.deepEqual(several('--namespace'), [
    'namespace of the installation',
    'namespace of the waypoint',
    'namespace whose pods the policies are for',
    'only what concerns this namespace',
  ]);
});

test('every command and option has a description that begins with a small letter and ends without a period', async () => {
  const isExempt = /^(?:NAMESPACE|YAML|Redis|OTLP|SPIFFE|WEFT)/;
  for (const command of all((await Promise.all(entries.map(({ load }) => load()))).flat()))
    for (const text of [command.description(), ...command.options.map(({ description }) => description)]) {
      assert.notEqual(text, '', command.name());
      assert.doesNotMatch(text, /\.$/, `${command.name()}: ${text}`);
      if (!isExempt.test(text)) assert.match(text, /^[a-z]/, `${command.name()}: ${text}`);
    }
});
