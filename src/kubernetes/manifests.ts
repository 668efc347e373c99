/**
 * Reads manifests as kubectl does: YAML 1.1 with merge keys, JSON, several documents in one file, Lists. Pure. kubectl's reader
 * (sigs.k8s.io/yaml) defines the meaning of scalars: `yes` and `on` are booleans, `010` is 8, dates and `22:22` are text.
 */
import { LineCounter, parseAllDocuments, type Document, type ScalarTag, type Tags } from 'yaml';
import { errorText } from '../base/errors.js';
import { isRecord } from '../base/record.js';

export const manifestBytesMax = 8 << 20;
/** Limit of one document with its aliases expanded: the characters of its text, plus 8 for each value. */
const expandedMax = 4 * manifestBytesMax;
/** Limit of uses of one anchor; uses inside of other anchors are multiplied. */
const aliasesMax = 10_000;
/** Limit of nested collections: readers walk the document recursively. */
const depthMax = 200;
/** Whether a file name is that of a manifest. */
export const isManifest = (name: string): boolean => /\.(ya?ml|json)$/.test(name);
/** The error about a path of manifests that does not exist. */
export const absentText = (path: string): string =>
  `${path}: there is no such file or directory: pass files, or directories of files whose names end in .yaml, .yml or .json`;

interface ManifestError {
  /** Line number, from 1. */
  readonly line: number;
  readonly message: string;
}
export type Path = readonly (string | number)[];
/** A document, or an item of a List. */
export interface Manifest {
  readonly value: unknown;
  /** The line of the node at this path, or of its nearest existing ancestor. */
  readonly lineOf: (path: Path) => number;
  /** The source text of the scalar at this path; undefined if there is none or it is quoted. */
  readonly plainTextAt: (path: Path) => string | undefined;
}
interface Manifests {
  readonly manifests: readonly Manifest[];
  /** Errors of documents that could not be read. */
  readonly errors: readonly ManifestError[];
}

const boolean = (value: boolean, test: RegExp): ScalarTag => ({
  identify: (one) => one === value,
  tag: 'tag:yaml.org,2002:bool',
  default: true,
  test,
  resolve: () => value,
});
/** A single letter is text, as in most readers. Only kubectl's reader treats `y` and `n` as booleans, which authors rarely mean. */
const booleans = [
  boolean(true, /^(?:[Yy]es|YES|[Tt]rue|TRUE|[Oo]n|ON)$/),
  boolean(false, /^(?:[Nn]o|NO|[Ff]alse|FALSE|[Oo]ff|OFF)$/),
];
const octal: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^[-+]?0o[0-7_]+$/,
  resolve: (text) => {
    const value = Number.parseInt(text.replace(/_/g, '').replace(/^[-+]?0o/, ''), 8);
    return text.startsWith('-') ? -value : value;
  },
};
/** YAML 1.1 tags that are not used: dates and times of day stay text, special collections stay plain maps and lists. */
const others = new Set(
  ['bool', 'timestamp', 'binary', 'omap', 'pairs', 'set'].map((name) => `tag:yaml.org,2002:${name}`),
);
const isKept = (tag: Tags[number]): boolean =>
  typeof tag === 'string' || (!others.has(tag.tag) && !('format' in tag && tag.format === 'TIME'));

/** Splits at each line of `---`, whatever is open before it, so that a broken document does not affect the others. */
function chunksOf(text: string): { readonly text: string; readonly offset: number }[] {
  const starts = [0, ...[...text.matchAll(/^---(?=\s|$)/gm)].map(({ index }) => index)];
  return [...new Set(starts)].map((offset, at, all) => ({ text: text.slice(offset, all[at + 1]), offset }));
}

/** Splits a sequence of JSON objects, as `jq` writes them; undefined if the text is anything else. */
function jsonChunksOf(text: string): { readonly text: string; readonly offset: number }[] | undefined {
  if (!/^\s*\{/.test(text)) return undefined;
  const chunks: { text: string; offset: number }[] = [];
  let [depth, start, isText] = [0, 0, false];
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (isText) {
      if (char === '\\') at++;
      else if (char === '"') isText = false;
    } else if (char === '"') isText = true;
    else if (char === '{' || char === '[') {
      if (depth++ === 0) start = at;
    } else if (char === '}' || char === ']') {
      if (--depth === 0) chunks.push({ text: text.slice(start, at + 1), offset: start });
      if (depth < 0) return undefined;
    } else if (depth === 0 && !/\s/.test(char ?? '')) return undefined;
  }
  if (depth !== 0 || isText) return undefined;
  try {
    for (const chunk of chunks) JSON.parse(chunk.text);
  } catch {
    return undefined;
  }
  return chunks;
}

/** Whether the text has only directives, comments and blank lines. */
const isEmpty = (text: string): boolean =>
  text
    .replace(/^---(?=\s|$)/, '')
    .split('\n')
    .every((line) => /^\s*(?:[%#].*)?$/.test(line));

/**
 * Why a document exceeds the limits; undefined if it does not. Stops at the limits: with aliases a short text can expand to any size, and
 * an alias inside of its own anchor expands without end.
 */
function excessOf(value: unknown): string | undefined {
  let left = expandedMax;
  const tooLarge = `larger than ${expandedMax} bytes with its aliases expanded`;
  const look = (one: unknown, depth: number): string | undefined => {
    left -= 8 + (typeof one === 'string' ? one.length : 0);
    if (left < 0) return tooLarge;
    if (one === null || typeof one !== 'object') return undefined;
    if (depth >= depthMax)
      return `nested deeper than ${depthMax} levels, or an alias is inside of its own anchor`;
    for (const [key, item] of Object.entries(one)) {
      left -= key.length;
      const excess = look(item, depth + 1);
      if (excess !== undefined) return excess;
    }
    return undefined;
  };
  return look(value, 0);
}

/** An item of a typed List, with the kind and apiVersion that it may omit. */
function itemOf(list: Readonly<Record<string, unknown>>, item: unknown): unknown {
  if (!isRecord(item) || list['kind'] === 'List') return item;
  const { kind = String(list['kind']).slice(0, -'List'.length), apiVersion = list['apiVersion'] } = item;
  return { kind, ...(apiVersion === undefined ? {} : { apiVersion }), ...item };
}

class Reader {
  readonly manifests: Manifest[] = [];
  readonly errors: ManifestError[] = [];

  read(text: string, offset: number, lines: LineCounter): void {
    const documents = parseAllDocuments(text, {
      version: '1.1',
      customTags: (tags) => [octal, ...booleans, ...tags.filter(isKept)],
      // Error excerpts are not displayed.
      prettyErrors: false,
    });
    const lineAt = (at: number): number => lines.linePos(offset + at).line;
    for (const document of Array.isArray(documents) ? documents : []) this.#document(document, lineAt);
  }

  #document(document: Document.Parsed, lineAt: (at: number) => number): void {
    const at = (
      path: Path,
    ): { range?: [number, number, number]; source?: string; type?: string } | undefined => {
      const found: unknown = document.getIn(path, true);
      return isRecord(found) ? found : undefined;
    };
    const lineOf = (path: Path): number => {
      for (let length = path.length; length >= 0; length--) {
        const range = at(path.slice(0, length))?.range;
        if (range) return lineAt(range[0]);
      }
      return lineAt(0);
    };
    const plainTextAt = (path: Path): string | undefined => {
      const node = at(path);
      return node?.type === 'PLAIN' ? node.source : undefined;
    };
    if (document.errors.length > 0) {
      for (const { pos, message } of document.errors) this.errors.push({ line: lineAt(pos[0]), message });
      return;
    }
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: aliasesMax });
    } catch (error) {
      // An alias without an anchor, or more aliases than the limit, is detected only here.
      this.errors.push({ line: lineOf([]), message: errorText(error) });
      return;
    }
    const excess = excessOf(value);
    if (excess !== undefined) {
      this.errors.push({ line: lineOf([]), message: excess });
      return;
    }
    if (value === null || value === undefined) return;
    if (!isRecord(value) || typeof value['kind'] !== 'string' || !value['kind'].endsWith('List')) {
      this.manifests.push({ value, lineOf, plainTextAt });
      return;
    }
    const { kind, items } = value;
    if (!Array.isArray(items)) {
      this.errors.push({ line: lineOf(['kind']), message: `${kind} has no items` });
      return;
    }
    for (const [index, item] of items.entries()) {
      if (item === null || item === undefined) continue;
      const place = (path: Path): Path => ['items', index, ...path];
      this.manifests.push({
        value: itemOf(value, item),
        lineOf: (path) => lineOf(place(path)),
        plainTextAt: (path) => plainTextAt(place(path)),
      });
    }
  }
}

/** Reads all documents of a text. Never throws. Empty documents and documents with only comments are skipped. */
export function readManifests(text: string): Manifests {
  if (Buffer.byteLength(text) > manifestBytesMax)
    return { manifests: [], errors: [{ line: 1, message: `larger than ${manifestBytesMax} bytes` }] };
  const reader = new Reader();
  const lines = new LineCounter();
  lines.addNewLine(0);
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines.addNewLine(at + 1);
  const plain = text.replace(/^\uFEFF/, '');
  for (const chunk of jsonChunksOf(plain) ?? chunksOf(plain))
    if (!isEmpty(chunk.text)) reader.read(chunk.text, chunk.offset, lines);
  return reader;
}
