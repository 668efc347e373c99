/** A build of this source whose maps all have another layout: every struct begins with a field that ours has not. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { objectLayout, projectRoot } from '../../native/index.js';
import { sh } from '../../src/cli/run.js';

/** An address is part of others; a trie's key begins with its length; events are read at fixed places. */
const kept = new Set(['weft_ip', 'weft_bypass_ip_key', 'weft_event']);

export interface OtherBuild {
  readonly agent: string;
  readonly cleanup: string;
  remove(): void;
}

/** `same`: structs that it has as we have them. */
export function otherBuild(same: readonly string[] = []): OtherBuild {
  const dir = mkdtempSync(join(tmpdir(), 'weft-other-'));
  for (const name of [
    'dist/src',
    'dist/daemonset',
    'dist/native',
    'bpf',
    'native/build/Release/weft.node',
    'native/binding.gyp',
  ]) {
    cpSync(join(projectRoot, name), join(dir, name), { recursive: true });
  }
  rmSync(join(dir, 'bpf', 'build'), { recursive: true, force: true });
  for (const name of ['node_modules', 'package.json']) symlinkSync(join(projectRoot, name), join(dir, name));

  const abi = join(dir, 'bpf', 'lib', 'abi.h');
  const text = readFileSync(abi, 'utf8');
  const changed = text
    .replace(/^_Static_assert.*\n/gm, '')
    .replace(/^struct (\w+) \{$/gm, (line, name: string) =>
      kept.has(name) || same.includes(name) ? line : `${line}\n\t__u8 of_other_build[8];`,
    );
  assert.notEqual(changed, text);
  writeFileSync(abi, changed);
  sh('bash', [join(dir, 'bpf', 'build.sh')]);

  const { structs } = objectLayout(join(dir, 'bpf', 'build', 'sockops.bpf.o'));
  const layout = join(dir, 'dist', 'daemonset', 'datapath', 'layout.js');
  const code = readFileSync(layout, 'utf8');
  const patched = code.replace(
    /export const structs = \{[\s\S]*?\n\};/,
    `export const structs = ${JSON.stringify(structs)};`,
  );
  assert.notEqual(patched, code);
  writeFileSync(layout, patched);
  const program = (name: string): string => join(dir, 'dist', 'daemonset', `${name}.js`);
  return {
    agent: program('main'),
    cleanup: program('cleanup'),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}
