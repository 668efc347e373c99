import assert from 'node:assert/strict';
import { test } from 'node:test';
import { complaints } from './complaints.js';

const layers = 'no-restricted-imports';
const circles = 'weft/import-circles';

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
    assert.equal((await complaints(layers, file, code)).length, 1, `${file}: ${code}`);
});

test('an import that the architecture allows passes', async () => {
  assert.deepEqual(await complaints(layers, 'daemonset/pod/x.ts', "import '../../native/index.js';"), []);
  assert.deepEqual(await complaints(layers, 'control/x.ts', "import '../src/tls/issue.js';"), []);
});

test('an import cycle fails the build, also one of types, and the message names its files', async () => {
  // src/base/wait.ts imports src/base/errors.ts.
  for (const code of [
    "import { sleep } from './wait.js';",
    "import type { sleep } from './wait.js';",
    "export * from './wait.js';",
    "export { sleep } from './wait.js';",
    "const wait = await import('./wait.js');",
    "export type Sleep = typeof import('./wait.js').sleep;",
    "import './errors.js';",
  ])
    assert.equal((await complaints(circles, 'src/base/errors.ts', code)).length, 1, code);
  assert.deepEqual(await complaints(circles, 'src/base/errors.ts', "import './wait.js';"), [
    'circle of imports: src/base/errors.ts > src/base/wait.ts > src/base/errors.ts',
  ]);
});

test('an import that is not part of a cycle passes', async () => {
  const code = "import { WeftError } from './errors.js'; import 'node:fs'; import './missing.js';";
  assert.deepEqual(await complaints(circles, 'src/base/wait.ts', code), []);
});
