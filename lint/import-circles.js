/**
 * ESLint rule: no file imports itself through others. Imports of types count, because a circle of types ties files together as
 * a circle of values does; this is why `import-x/no-cycle`, which skips them, is not used. Imports are read by TypeScript's own
 * scanner (`import`, `export from`, `import()`, `import('x').T`).
 *
 * Each file is read once per process. An editor's ESLint server sees the edits of other files after a restart.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

/** Imported files by file, as absolute paths. */
const importsByFile = new Map();

function resolveImport(from, specifier) {
  const target = path.resolve(
    path.dirname(from),
    specifier.replace(/\.js$/, '.ts').replace(/\.mjs$/, '.mts'),
  );
  return target.endsWith('.ts') && !existsSync(target) ? `${target}x` : target;
}

/** Relative imports that lead to a TypeScript file. */
function importsIn(file, text) {
  const found = ts.preProcessFile(text, true, false).importedFiles.map(({ fileName }) => fileName);
  return [
    ...new Set(found.filter((name) => name.startsWith('.')).map((name) => resolveImport(file, name))),
  ].filter((target) => /\.tsx?$/.test(target) && existsSync(target));
}

function importsOf(file) {
  let imports = importsByFile.get(file);
  if (!imports) {
    imports = importsIn(file, readFileSync(file, 'utf8'));
    importsByFile.set(file, imports);
  }
  return imports;
}

/** The shortest chain of imports from `start` to `goal`, both included. Undefined where there is none. */
function chain(start, goal) {
  const previous = new Map([[start, undefined]]);
  for (const file of previous.keys()) {
    if (file === goal) {
      const files = [];
      for (let at = file; at !== undefined; at = previous.get(at)) files.unshift(at);
      return files;
    }
    for (const next of importsOf(file)) if (!previous.has(next)) previous.set(next, file);
  }
  return undefined;
}

export const importCircles = {
  meta: {
    type: 'problem',
    schema: [],
    messages: { circle: 'circle of imports: {{files}}' },
  },
  create(context) {
    const file = context.filename;
    const importsHere = new Set(importsIn(file, context.sourceCode.text));
    const check = (node) => {
      if (typeof node.source?.value !== 'string') return;
      const target = resolveImport(file, node.source.value);
      if (!importsHere.has(target)) return;
      const files = chain(target, file);
      if (!files) return;
      const names = [file, ...files].map((name) => path.relative(context.cwd, name)).join(' > ');
      context.report({ node, messageId: 'circle', data: { files: names } });
    };
    return {
      ImportDeclaration: check,
      ExportNamedDeclaration: check,
      ExportAllDeclaration: check,
      ImportExpression: check,
      TSImportType: (node) =>
        check({ ...node, source: node.source ?? node.argument?.literal, loc: node.loc }),
    };
  },
};
