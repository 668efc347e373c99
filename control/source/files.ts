/**
 * The registry from files: a directory of ordinary Kubernetes manifests. A file that is wrong is refused with file, line and field, and what
 * it last said well stays in force, as an API server refuses an update. What it says anew and cannot be read is in force in its closed form:
 * a policy that never was well closes what it selects.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { ErrorObject } from 'ajv';
import { LineCounter, parseAllDocuments, type Document } from 'yaml';
import { errorText, WeftError } from '../../src/base/errors.js';
import { objectKey } from '../compile/compile.js';
import type { MeshObject } from '../compile/objects.js';
import { compileErrorOf, isForeign, messageOf, notReadBecause, readObject, validatorOf } from './validate.js';

const fileBytesMax = 8 << 20;
const filesMax = 10_000;
const pollMs = 300;
const quietMs = 30;

export interface FileError {
  readonly file: string;
  readonly line: number;
  readonly field: string;
  readonly message: string;
}

function locate(document: Document.Parsed, lines: LineCounter, path: readonly (string | number)[]): number {
  for (let length = path.length; length >= 0; length--) {
    const node = document.getIn(path.slice(0, length), true) as
      { range?: [number, number, number] } | undefined;
    if (node?.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

/** One line. Errors of a whole file or document have no field, those of a file that cannot be opened no line either. */
export const fileErrorText = ({ file, line, field, message }: FileError): string =>
  `${file}${line > 0 ? `:${line}` : ''}: ${field === '' ? '' : `${field}: `}${message}`;

export interface Parsed {
  readonly objects: MeshObject[];
  readonly errors: FileError[];
  /** In the place of objects that cannot be read: their closed forms, of kinds that have one. */
  readonly closed: MeshObject[];
  /** Some of it cannot be read at all: it is not known what it says. */
  readonly isUnreadable: boolean;
}

/** One file's objects, and what is wrong with it. Kinds of other groups that Weft does not read are passed over. */
export function parseManifests(file: string, text: string): Parsed {
  const objects: MeshObject[] = [];
  const errors: FileError[] = [];
  const closed: MeshObject[] = [];
  let isUnreadable = false;
  if (Buffer.byteLength(text) > fileBytesMax) {
    const error = { file, line: 1, field: '', message: `larger than ${fileBytesMax} bytes` };
    return { objects, errors: [error], closed, isUnreadable: true };
  }
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, maxAliasCount: 100 } as object);
  for (const document of Array.isArray(documents) ? documents : []) {
    if (document.errors.length > 0) {
      isUnreadable = true;
      for (const error of document.errors) {
        errors.push({
          file,
          line: lines.linePos(error.pos[0]).line,
          field: '',
          message: (error.message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:$/, ''),
        });
      }
      continue;
    }
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: 100 });
    } catch (error) {
      // An alias without its anchor, or more of them than the limit, shows only here.
      isUnreadable = true;
      errors.push({ file, line: locate(document, lines, []), field: '', message: errorText(error) });
      continue;
    }
    if (value === null || value === undefined) continue;
    const { kind, apiVersion } = value as { kind?: unknown; apiVersion?: unknown };
    if (typeof kind !== 'string') {
      isUnreadable = true;
      errors.push({ file, line: locate(document, lines, []), field: 'kind', message: 'kind is missing' });
      continue;
    }
    const notRead = notReadBecause(value as object & { kind: string });
    if (notRead !== undefined) {
      isUnreadable = true;
      errors.push({ file, line: locate(document, lines, ['kind']), field: 'kind', message: notRead });
      continue;
    }
    const validate = validatorOf(kind);
    if (!validate || isForeign(kind, apiVersion)) continue;
    if (validate(value)) {
      const object = value as MeshObject;
      const wrong = compileErrorOf(object);
      if (wrong === undefined) objects.push(object);
      else {
        const field = `${kind}/${object.metadata.name}`;
        errors.push({ file, line: locate(document, lines, []), field, message: wrong });
        closed.push(...closedOf(object));
      }
      continue;
    }
    for (const error of validate.errors ?? []) errors.push(explain(file, document, lines, error));
    if (isNamed(value)) closed.push(...closedOf(value as MeshObject));
    else if (kind === 'AccessPolicy') isUnreadable = true;
  }
  return { objects, errors, closed, isUnreadable };
}

const isNamed = (value: object): boolean => {
  const { metadata } = value as { metadata?: { name?: unknown; namespace?: unknown } | null };
  const { name, namespace = 'default' } = metadata ?? {};
  return typeof name === 'string' && name !== '' && typeof namespace === 'string';
};
function closedOf(object: MeshObject): readonly MeshObject[] {
  const { object: taken } = readObject(object);
  return taken ? [taken] : [];
}

function explain(file: string, document: Document.Parsed, lines: LineCounter, error: ErrorObject): FileError {
  const path = error.instancePath
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part.replace(/~1/g, '/').replace(/~0/g, '~')));
  const extra =
    (error.params as { additionalProperty?: string; missingProperty?: string; allowedValues?: unknown[] }) ??
    {};
  const field = [...path, ...(extra.additionalProperty ? [extra.additionalProperty] : [])];
  const allowed = extra.allowedValues ? `: ${extra.allowedValues.join(', ')}` : '';
  return {
    file,
    line: locate(document, lines, field),
    field: field.join('.') || (extra.missingProperty ?? ''),
    message: `${messageOf(error)}${allowed}`,
  };
}

export interface FileSourceOptions {
  /** Read as one; a file's name need be its own within its directory alone. */
  readonly dirs: readonly string[];
  readonly onObjects: (objects: readonly MeshObject[]) => void;
  /** New ones; none where a file that had some is gone. */
  readonly onErrors: (errors: readonly FileError[]) => void;
}

/**
 * Watches by looking: inotify misses changes on several file systems, and a directory of manifests is small. Where it does
 * tell, it is looked at sooner.
 */
export class FileSource {
  /** By file: what it last said well, and what stands for what it says now and cannot be read. */
  readonly #good = new Map<
    string,
    { readonly objects: readonly MeshObject[]; readonly closed: readonly MeshObject[] }
  >();
  readonly #wrong = new Map<string, readonly FileError[]>();
  readonly #seen = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  readonly #watchers: FSWatcher[] = [];

  constructor(private readonly options: FileSourceOptions) {}

  /** What is wrong with files as they are now. */
  get problems(): readonly FileError[] {
    return [...this.#wrong.values()].flat();
  }

  /**
   * Throws WEFT_SOURCE_MISSING where a directory is not there, WEFT_SOURCE_UNREADABLE where it is not known what a file says: a control
   * plane without it might open what it closes, and nodes that hear of none keep what they know.
   */
  start(): void {
    for (const dir of this.options.dirs) {
      if (existsSync(dir) && statSync(dir).isDirectory()) continue;
      throw new WeftError('WEFT_SOURCE_MISSING', `${dir} is no directory: give one with manifests by --from`);
    }
    this.#look(true);
    this.#timer = setInterval(() => this.#look(false), pollMs);
    try {
      for (const dir of this.options.dirs) {
        const watcher = watch(dir, { persistent: false }, () => {
          // A file is told of when it is emptied to be written anew: what is read has to be whole.
          clearTimeout(this.#soon);
          this.#soon = setTimeout(() => this.#look(false), quietMs);
        });
        watcher.on('error', () => watcher.close());
        this.#watchers.push(watcher);
      }
    } catch {
      // No inotify here, or none left: the timer sees it.
    }
  }

  stop(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    for (const watcher of this.#watchers) watcher.close();
  }

  #look(first: boolean): void {
    let changed = first;
    const errors: FileError[] = [];
    /** At the start there is nothing that could stay in force in its place. */
    const unreadable = (error: FileError): void => {
      if (first) throw unreadableError(error);
      errors.push(error);
    };
    let files: string[];
    try {
      files = this.options.dirs.flatMap((dir, at) =>
        readdirSync(dir)
          .filter((name) => /\.(ya?ml|json)$/.test(name))
          .sort()
          .map((name) => (at === 0 ? name : join(dir, name))),
      );
    } catch (error) {
      // The directory itself is gone: that is no order to empty the mesh.
      const file = this.options.dirs.join(' ');
      const problem = { file, line: 0, field: '', message: errorText(error) };
      if (first) throw unreadableError(problem);
      this.options.onErrors([problem]);
      return;
    }
    const excess = files.splice(filesMax)[0];
    if (excess !== undefined && (first || !this.#wrong.has(excess))) {
      const problem = { file: excess, line: 0, field: '', message: `more than ${filesMax} files` };
      this.#wrong.set(excess, [problem]);
      unreadable(problem);
    }
    const present = new Set(excess === undefined ? files : [...files, excess]);
    let hasFewerProblems = false;
    for (const file of new Set([...this.#seen.keys(), ...this.#wrong.keys()])) {
      if (present.has(file)) continue;
      this.#seen.delete(file);
      if (this.#wrong.delete(file)) hasFewerProblems = true;
      if (this.#good.delete(file)) changed = true;
    }
    for (const file of files) {
      let text: string;
      try {
        text = readFileSync(file.includes('/') ? file : join(this.options.dirs[0] ?? '', file), 'utf8');
      } catch (error) {
        // Removed between the listing and now: the next look sees it. Whatever else keeps it from being read changes nothing.
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
        const problem = { file, line: 0, field: '', message: errorText(error) };
        if (first || this.#wrong.get(file)?.[0]?.message !== problem.message) unreadable(problem);
        this.#wrong.set(file, [problem]);
        this.#seen.delete(file);
        continue;
      }
      const hash = createHash('sha256').update(text).digest('hex');
      if (this.#seen.get(file) === hash) continue;
      this.#seen.set(file, hash);
      const parsed = parseManifests(file, text);
      const [problem] = parsed.errors;
      if (!problem) {
        this.#wrong.delete(file);
        this.#good.set(file, { objects: parsed.objects, closed: [] });
        changed = true;
        continue;
      }
      if (parsed.isUnreadable) unreadable(problem);
      errors.push(...parsed.errors);
      this.#wrong.set(file, parsed.errors);
      const before = this.#good.get(file);
      const known = new Set((before?.objects ?? []).map(objectKey));
      // Where it said nothing well yet, what can be read of it is more than nothing: a policy among it closes something.
      const objects = before?.objects ?? parsed.objects;
      const closed = parsed.closed.filter((object) => !known.has(objectKey(object)));
      if (!before || !isDeepStrictEqual(before.closed, closed)) changed = true;
      this.#good.set(file, { objects, closed });
    }
    if (errors.length > 0 || hasFewerProblems) this.options.onErrors([...new Set(errors)]);
    if (!changed) return;
    const good = [...this.#good.values()];
    this.options.onObjects([
      ...good.flatMap(({ objects }) => objects),
      ...good.flatMap(({ closed }) => closed),
    ]);
  }
}

const unreadableError = (error: FileError): WeftError =>
  new WeftError(
    'WEFT_SOURCE_UNREADABLE',
    `${fileErrorText(error)}: it is not known what it closes; correct it, or move it away`,
  );
