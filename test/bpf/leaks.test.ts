import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { removeInstance } from '../../daemonset/datapath/loader.js';
import { projectRoot } from '../../native/index.js';

const instance = 'test-leaks';

/**
 * Reports of leaks by the addon. Node.js does not free its own memory at exit, nor does the addon free what it holds while it is loaded.
 * So only repeated allocations (more than 15 objects) from the addon's sources count.
 */
function leaksOfAddon(report: string): string[] {
  const onceMax = 15;
  return report.split('\n\n').filter((block) => {
    const objects = /^(?:Direct|Indirect) leak of \d+ byte\(s\) in (\d+) object/m.exec(block)?.[1];
    return Number(objects ?? 0) > onceMax && / \.\.\/src\/\w+\.cc:/.test(block);
  });
}

test('the addon has no leaks and no invalid accesses in 10 000 rounds under AddressSanitizer', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-asan-'));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
    removeInstance(instance);
  });
  cpSync(join(projectRoot, 'native', 'src'), join(dir, 'src'), { recursive: true });
  cpSync(join(projectRoot, 'native', 'binding.gyp'), join(dir, 'binding.gyp'));
  symlinkSync(join(projectRoot, 'node_modules'), join(dir, 'node_modules'));
  const run = (command: string, args: string[], env: Record<string, string>) =>
    spawnSync(command, args, {
      cwd: dir,
      encoding: 'utf8',
      env: { ...process.env, ...env },
      timeout: 240_000,
      maxBuffer: 64 << 20,
    });
  // As in native/build.sh: npx also passes npm's settings to node-gyp.
  const build = run('npx', ['--no-install', 'node-gyp', 'rebuild'], {
    npm_config_nodedir: resolve(process.execPath, '../..'),
    CXXFLAGS: '-fsanitize=address -fno-omit-frame-pointer -g -O1',
    LDFLAGS: '-fsanitize=address',
  });
  assert.equal(build.status, 0, build.stderr);
  const asan = run('g++', ['-print-file-name=libasan.so'], {}).stdout.trim();
  const child = join(dirname(fileURLToPath(import.meta.url)), 'leaks.child.js');
  const { status, signal, stdout, stderr } = run(
    process.execPath,
    [child, join(dir, 'build', 'Release', 'weft.node'), join('/sys/fs/bpf/weft', instance)],
    { LD_PRELOAD: asan, ASAN_OPTIONS: 'detect_leaks=1:exitcode=0:fast_unwind_on_malloc=0:malloc_context_size=12' },
  );
  assert.equal(signal, null, stderr.slice(0, 2000));
  assert.equal(status, 0, stderr.slice(0, 2000));
  assert.match(stdout, /10000 rounds/, stderr.slice(0, 2000));
  // Node.js has leaks of its own: their presence shows that LeakSanitizer ran.
  assert.match(stderr, /SUMMARY: AddressSanitizer: \d+ byte\(s\) leaked/);
  assert.doesNotMatch(stderr, /ERROR: AddressSanitizer/);
  assert.deepEqual(leaksOfAddon(stderr), []);
});
