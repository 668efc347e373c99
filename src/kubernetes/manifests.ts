/**
 * Manifests as kubectl reads them: YAML 1.1 with merge keys, JSON, several documents in one file, Lists. Pure. kubectl's own reader
 * (sigs.k8s.io/yaml) is the source of what a scalar means: `yes` and `on` are booleans, `010` is 8, dates and `22:22` are text.
 */
import { LineCounter, parseAllDocuments, type Document, type ScalarTag, type Tags } from 'yaml';
import { errorText } from '../base/errors.js';

export const manifestBytesMax = 8 << 20;
/** Of one document with its aliases written out: characters of its text, and 8 for each value. */
const expandedMax = 4 * manifestBytesMax;
/** Uses of one anchor, those inside of other anchors multiplied. */
const aliasesMax = 10_000;
/** Of collections in each other. Whoever reads the document walks it by recursion. */
const depthMax = 200;
/** Names of files that are read. */
export const isManifest = (name: string): boolean => /\.(ya?ml|json)$/.test(name);

interface ManifestError {
  /** From 1. */
  readonly line: number;
  readonly message: string;
}
export type Path = readonly (string | number)[];
/** A document, or an item of a List. */
export interface Manifest {
  readonly value: unknown;
  /** Line of what is at this path, or of the nearest thing around it that is there. */
  readonly lineOf: (path: Path) => number;
  /** As the scalar at this path is written; undefined where there is none, or it is in quotes. */
  readonly plainTextAt: (path: Path) => string | undefined;
}
interface Manifests {
  readonly manifests: readonly Manifest[];
  /** Documents of which it is not known what they say. */
  readonly errors: readonly ManifestError[];
}

const boolean = (value: boolean, test: RegExp): ScalarTag => ({
  identify: (one) => one === value,
  tag: 'tag:yaml.org,2002:bool',
  default: true,
  test,
  resolve: () => value,
});
/** One letter is text, as for most readers: kubectl's alone takes `y` and `n` for booleans, where nobody means them. */
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
/** What is read in another way than YAML 1.1 has it: dates and times of day stay text, other collections are what they look like. */
const others = new Set(
  ['bool', 'timestamp', 'binary', 'omap', 'pairs', 'set'].map((name) => `tag:yaml.org,2002:${name}`),
);
const isKept = (tag: Tags[number]): boolean =>
  typeof tag === 'string' || (!others.has(tag.tag) && !('format' in tag && tag.format === 'TIME'));

/** A document begins at each line of `---`, whatever is open before it: so one that is broken takes no other along. */
function chunksOf(text: string): { readonly text: string; readonly offset: number }[] {
  const starts = [0, ...[...text.matchAll(/^---(?=\s|$)/gm)].map(({ index }) => index)];
  return [...new Set(starts)].map((offset, at, all) => ({ text: text.slice(offset, all[at + 1]), offset }));
}

/** JSON objects one after the other, as `jq` writes them; undefined where the text is something else. */
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

/** Nothing but what may stand around documents: directives, comments, blank lines. */
const isEmpty = (text: string): boolean =>
  text
    .replace(/^---(?=\s|$)/, '')
    .split('\n')
    .every((line) => /^\s*(?:[%#].*)?$/.test(line));

/**
 * Why a document is too much to be read; undefined where it is not. Stops at the limits: with aliases a short text can stand for any amount,
 * and an alias inside of what it names for something without an end.
 */
function excessOf(value: unknown): string | undefined {
  let left = expandedMax;
  const tooLarge = `larger than ${expandedMax} bytes with its aliases written out`;
  const look = (one: unknown, depth: number): string | undefined => {
    left -= 8 + (typeof one === 'string' ? one.length : 0);
    if (left < 0) return tooLarge;
    if (one === null || typeof one !== 'object') return undefined;
    if (depth >= depthMax)
      return `nested deeper than ${depthMax} levels, or an alias stands inside of what it names`;
    for (const [key, item] of Object.entries(one)) {
      left -= key.length;
      const excess = look(item, depth + 1);
      if (excess !== undefined) return excess;
    }
    return undefined;
  };
  return look(value, 0);
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** An item of a typed List may leave out what the List says. */
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
      // The characters of a message's excerpt are shown by nobody.
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
      // An alias without its anchor, or more of them than the limit, shows only here.
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

/** Never throws. A document that is empty, or only a comment, says nothing. */
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
