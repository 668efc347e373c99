/** All manifests shown to users: YAML in the Markdown files, and the files of docs/examples. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { projectRoot } from '../../native/index.js';

export interface Example {
  /** File, and the line of the block in it. */
  readonly where: string;
  readonly text: string;
  readonly objects: readonly ExampleObject[];
  /** The example states that it needs the Gateway API's experimental channel. */
  readonly experimental: boolean;
}
interface ExampleObject {
  readonly apiVersion?: unknown;
  readonly kind?: unknown;
  readonly metadata?: { readonly name?: string; readonly namespace?: string };
}

const fence = /^```(\S*)[^\n]*\n([\s\S]*?)^```$/gm;
const heredoc = /<<-?'?(\w+)'?\n([\s\S]*?)\n\1$/gm;

/** Blocks marked `yaml fragment` are parts of objects and are left out. */
function* blocksOf(file: string, text: string): Generator<{ where: string; text: string }> {
  for (const match of text.matchAll(fence)) {
    const [whole, language = '', body = ''] = match;
    const where = `${file}:${text.slice(0, match.index).split('\n').length}`;
    if (language === 'yaml' && !/^```yaml fragment/.test(whole)) yield { where, text: body };
    // Manifests in a shell's here-document.
    if (language === 'sh')
      for (const [, , inner = ''] of body.matchAll(heredoc))
        if (/^kind: /m.test(inner)) yield { where, text: inner };
  }
}

function* texts(): Generator<{ where: string; text: string }> {
  const docs = join(projectRoot, 'docs');
  yield* blocksOf('README.md', readFileSync(join(projectRoot, 'README.md'), 'utf8'));
  for (const name of readdirSync(docs, { recursive: true, encoding: 'utf8' }).sort()) {
    if (name.endsWith('.md')) yield* blocksOf(`docs/${name}`, readFileSync(join(docs, name), 'utf8'));
    else if (/^examples\/.*\.ya?ml$/.test(name))
      yield { where: `docs/${name}`, text: readFileSync(join(docs, name), 'utf8') };
  }
}

export function examples(): Example[] {
  return [...texts()].map(({ where, text }) => ({
    where,
    text,
    objects: parseAllDocuments(text).map((document) => {
      if (document.errors[0]) throw new Error(`${where}: ${document.errors[0].message}`);
      return document.toJS() as ExampleObject;
    }),
    experimental: /^\s*#.*experimental channel/im.test(text),
  }));
}
