// Bundles the code of `weft explain`, with the parts of libraries that it uses: loading hundreds of files takes longer than to answer. Code that is
// imported when it is needed, such as that of Kubernetes, becomes files of its own.
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const dist = join(dirname(dirname(fileURLToPath(import.meta.url))), 'dist');
const outdir = join(dist, 'src', 'cli', 'bundle');
rmSync(outdir, { recursive: true, force: true });

/** Of these only what is used belongs to the bundle: importing them has no effect. */
const pure = {
  name: 'pure',
  setup(on) {
    // The module of Node.js of this name is deprecated, and says so to the user.
    on.onResolve({ filter: /^punycode$/ }, ({ resolveDir, kind }) =>
      on.resolve('punycode/punycode.js', { resolveDir, kind }),
    );
    on.onResolve(
      { filter: /^(@grpc\/grpc-js|@kubernetes\/client-node|yaml|protobufjs)(\/|$)/ },
      async (args) => {
        if (args.pluginData === 'resolved') return undefined;
        const { path, errors } = await on.resolve(args.path, {
          kind: args.kind,
          resolveDir: args.resolveDir,
          importer: args.importer,
          pluginData: 'resolved',
        });
        return errors.length > 0 ? { errors } : { path, sideEffects: false };
      },
    );
  },
};

await build({
  entryPoints: { explain: join(dist, 'src', 'cli', 'explain', 'run.js') },
  outdir,
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  minifySyntax: true,
  logLevel: 'warning',
  plugins: [pure],
  // Libraries that are CommonJS call require for modules of Node.js.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
});
