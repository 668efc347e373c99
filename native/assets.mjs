// Copies files that are read at run time (manifests, schemas, .proto) beside the compiled code, and makes the CLI executable.
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const kinds = /\.(ya?ml|proto|json|html)$/;
for (const top of ['src', 'daemonset', 'control', 'test', 'bench']) {
  if (!existsSync(join(root, top))) continue;
  for (const entry of readdirSync(join(root, top), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !kinds.test(entry.name) || entry.name === 'tsconfig.json') continue;
    const from = join(entry.parentPath ?? entry.path, entry.name);
    const to = join(root, 'dist', from.slice(root.length + 1));
    mkdirSync(dirname(to), { recursive: true });
    cpSync(from, to);
  }
}
// npx runs the file directly. npm makes it executable only if it already exists when packages are installed.
chmodSync(join(root, 'dist', 'src', 'cli', 'weft.js'), 0o755);
await import('./bundle.mjs');
