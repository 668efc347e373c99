import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { ESLint } from 'eslint';
import { projectRoot } from '../../native/index.js';

async function complaints(file: string, code: string): Promise<string[]> {
  const eslint = new ESLint({ cwd: projectRoot });
  const [result] = await eslint.lintText(code, { filePath: join(projectRoot, file) });
  return (result?.messages ?? [])
    .filter(({ ruleId }) => ruleId === 'no-restricted-imports')
    .map(({ message }) => message);
}

test('an import that the architecture forbids fails the build', async () => {
  const forbidden: [string, string][] = [
    ['src/hbone/x.ts', "import '../../native/index.js';"],
    ['src/tls/x.ts', "import '../../control/main.js';"],
    ['src/base/x.ts', "import '../model/identity.js';"],
    ['src/cli/x.ts', "import '../../daemonset/main.js';"],
    ['daemonset/proxy/x.ts', "import '../../native/index.js';"],
    ['daemonset/x.ts', "import '../control/main.js';"],
    ['control/x.ts', "import '../src/hbone/pool.js';"],
    ['native/x.ts', "import '../src/base/errors.js';"],
  ];
  for (const [file, code] of forbidden)
    assert.equal((await complaints(file, code)).length, 1, `${file}: ${code}`);
});

test('an import that the architecture allows passes', async () => {
  assert.deepEqual(await complaints('daemonset/pod/x.ts', "import '../../native/index.js';"), []);
  assert.deepEqual(await complaints('control/x.ts', "import '../src/tls/issue.js';"), []);
});
