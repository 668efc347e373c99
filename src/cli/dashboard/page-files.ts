/** The files of the page, as the build wrote them, and the page as one file with a snapshot in it. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../base/errors.js';
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { distRoot } from '../run.js';

export interface PageFiles {
  readonly html: string;
  readonly script: string;
  readonly style: string;
}

/** Error: WEFT_DASHBOARD, if the build has no page. */
export function readPageFiles(dir = join(distRoot, 'src', 'dashboard', 'page')): PageFiles {
  const read = (name: string): string => readFileSync(join(dir, name), 'utf8');
  try {
    return { html: read('index.html'), script: read('page.js'), style: read('page.css') };
  } catch (error) {
    throw new WeftError('WEFT_DASHBOARD', `this build has no page in ${dir}: npm run build:ts`, {
      cause: error,
    });
  }
}

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const linkPattern = /<link\b[^>]*\bhref="\/?page\.css"[^>]*>/;
const scriptPattern = /<script\b[^>]*\bsrc="\/?page\.js"[^>]*>\s*<\/script>/;
const headPattern = /<head\b[^>]*>/;

/** Replaces a part that the page must have. `by` is a function, because `$` in a text would be read as a pattern. */
function replaced(html: string, pattern: RegExp, by: (found: string) => string): string {
  if (!pattern.test(html)) throw new WeftError('WEFT_DASHBOARD', `the page has no part ${String(pattern)}`);
  return html.replace(pattern, by);
}

/**
 * The page as one file that asks nobody: it shows this snapshot. Its policy permits only its own script and style, by their hashes. Pure.
 * Error: WEFT_DASHBOARD, if the build's page has another form.
 */
export function staticPage({ html, script, style }: PageFiles, snapshot: MeshSnapshot): string {
  // Ends of elements inside of strings and regular expressions; JSON has `<` only in strings.
  const safeScript = script.replaceAll(/<\/(script)/gi, '<\\/$1');
  const safeStyle = style.replaceAll(/<\/(style)/gi, '<\\/$1');
  const json = JSON.stringify(snapshot).replaceAll('<', '\\u003c');
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(safeScript)}`,
    `style-src ${hashOf(safeStyle)}`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  // A policy in a meta element is for what follows it.
  const meta = `<meta http-equiv="Content-Security-Policy" content="${policy}">\n<meta name="referrer" content="no-referrer">`;
  const withPolicy = replaced(html, headPattern, (head) => `${head}\n${meta}`);
  const withStyle = replaced(withPolicy, linkPattern, () => `<style>${safeStyle}</style>`);
  // A module runs once the document is complete, wherever it is.
  return replaced(
    withStyle,
    scriptPattern,
    () =>
      `<script type="application/json" id="weft-snapshot">${json}</script>\n<script type="module">${safeScript}</script>`,
  );
}
