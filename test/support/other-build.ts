/** A build of this source whose maps all have another layout: every struct begins with an additional field. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { projectRoot } from '../../native/index.js';
import { sh } from '../../src/cli/run.js';

/** Structs without the additional field: an address is part of others, and the key of a trie must begin with its length. */
const kept = new Set(['weft_ip', 'weft_bypass_ip_key']);

export interface OtherBuild {
  readonly agent: string;
  readonly cleanup: string;
  remove(): void;
}

/** `same`: structs that keep the layout of this build. */
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
      kept.has(name) || same.includes(name) ? line : `${line}\n\t__u8 pad_of_other_build[8];`,
    );
  assert.notEqual(changed, text);
  writeFileSync(abi, changed);
  sh('bash', [join(dir, 'bpf', 'build.sh')]);

  // As native/build.sh of that build does: the rows are generated from its own objects.
  const rows = sh('node', [
    join(projectRoot, 'native', 'generate-rows.mjs'),
    '--print',
    join(dir, 'bpf', 'build', 'sockops.bpf.o'),
  ]);
  const file = join(dir, 'dist', 'daemonset', 'maps', 'rows.generated.js');
  const { outputText } = ts.transpileModule(rows, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  });
  assert.notEqual(outputText, readFileSync(file, 'utf8'));
  writeFileSync(file, outputText);
  const program = (name: string): string => join(dir, 'dist', 'daemonset', `${name}.js`);
  return {
    agent: program('main'),
    cleanup: program('cleanup'),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}
