import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommanderError } from 'commander';
import { cleanupCommand } from './cleanup.js';

/** The instances that `weft cleanup` would remove with these arguments. */
function removedBy(...args: string[]): { removed: (string | undefined)[]; error: unknown } {
  const removed: (string | undefined)[] = [];
  const command = cleanupCommand((instance) => {
    removed.push(instance);
    return [];
  })
    .exitOverride()
    .configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  let error: unknown;
  try {
    command.parse(args, { from: 'user' });
  } catch (thrown) {
    error = thrown;
  }
  return { removed, error };
}

test('cleanup removes nothing when it is asked for help or gets an unknown argument', () => {
  for (const args of [['--help'], ['-h'], ['--instnace', 'a'], ['a'], ['--instance']]) {
    const { removed, error } = removedBy(...args);
    assert.deepEqual(removed, [], args.join(' '));
    assert.ok(error instanceof CommanderError, args.join(' '));
  }
  assert.deepEqual(removedBy().removed, [undefined]);
  assert.deepEqual(removedBy('--instance', 'a').removed, ['a']);
});
