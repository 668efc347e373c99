// Bundles the page of `weft dashboard` (src/dashboard/page) into dist/src/dashboard/page: page.js and page.css beside the
// index.html that native/assets.mjs copies. They load nothing from elsewhere: the server's content security policy forbids it.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const from = join(root, 'src', 'dashboard', 'page');
const to = join(root, 'dist', 'src', 'dashboard', 'page');
await build({
  entryPoints: [join(from, 'page.tsx'), join(from, 'page.css')],
  outdir: to,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  // `weft dashboard --static` writes the script into the page: text beyond ASCII would depend on the file's encoding.
  charset: 'ascii',
  legalComments: 'none',
  logLevel: 'warning',
});
