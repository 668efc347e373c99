/**
 * The registry from files: a directory of ordinary Kubernetes manifests. A file that is wrong is refused with file, line
 * and field, and what it last said well stays in force.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import type { ErrorObject } from 'ajv';
import { LineCounter, parseAllDocuments, type Document } from 'yaml';
import { errorText, WeftError } from '../../src/base/errors.js';
import type { MeshObject } from '../compile/objects.js';
import { compileErrorOf, isForeign, validatorOf } from './validate.js';

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

/** One file's objects, or what is wrong with it. Kinds that Weft does not read are passed over. */
export function parseManifests(file: string, text: string): { objects: MeshObject[]; errors: FileError[] } {
  const objects: MeshObject[] = [];
  const errors: FileError[] = [];
  if (Buffer.byteLength(text) > fileBytesMax) {
    return { objects, errors: [{ file, line: 1, field: '', message: `larger than ${fileBytesMax} bytes` }] };
  }
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, maxAliasCount: 100 } as object);
  for (const document of Array.isArray(documents) ? documents : []) {
    if (document.errors.length > 0) {
      for (const error of document.errors) {
        errors.push({
          file,
          line: lines.linePos(error.pos[0]).line,
          field: '',
          message: error.message.split('\n')[0] ?? '',
        });
      }
      continue;
    }
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: 100 });
    } catch (error) {
      // An alias without its anchor, or more of them than the limit, shows only here.
      errors.push({ file, line: locate(document, lines, []), field: '', message: errorText(error) });
      continue;
    }
    if (value === null || value === undefined) continue;
    const { kind, apiVersion } = value as { kind?: unknown; apiVersion?: unknown };
    if (typeof kind !== 'string') {
      errors.push({ file, line: locate(document, lines, []), field: 'kind', message: 'kind is missing' });
      continue;
    }
    const validate = validatorOf(kind);
    if (!validate || isForeign(kind, apiVersion)) continue;
    if (validate(value)) {
      const object = value as MeshObject;
      const wrong = compileErrorOf(object);
      if (wrong === undefined) objects.push(object);
      else
        errors.push({
          file,
          line: locate(document, lines, []),
          field: `${kind}/${object.metadata.name}`,
          message: wrong,
        });
      continue;
    }
    for (const error of validate.errors ?? []) errors.push(explain(file, document, lines, error));
  }
  return { objects, errors };
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
    message: `${error.message ?? 'is wrong'}${allowed}`,
  };
}

export interface FileSourceOptions {
  /** Read as one; a file's name need be its own within its directory alone. */
  readonly dirs: readonly string[];
  readonly onObjects: (objects: readonly MeshObject[]) => void;
  readonly onErrors: (errors: readonly FileError[]) => void;
}

/**
 * Watches by looking: inotify misses changes on several file systems, and a directory of manifests is small. Where it does
 * tell, it is looked at sooner.
 */
export class FileSource {
  readonly #good = new Map<string, { hash: string; objects: readonly MeshObject[] }>();
  readonly #seen = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  readonly #watchers: FSWatcher[] = [];

  constructor(private readonly options: FileSourceOptions) {}

  /** Throws WEFT_SOURCE_MISSING where the directory is not there. */
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
    let files: string[];
    try {
      files = this.options.dirs
        .flatMap((dir, at) =>
          readdirSync(dir)
            .filter((name) => /\.(ya?ml|json)$/.test(name))
            .sort()
            .map((name) => (at === 0 ? name : join(dir, name))),
        )
        .slice(0, filesMax);
    } catch (error) {
      // The directory itself is gone: that is no order to empty the mesh.
      const file = this.options.dirs.join(' ');
      this.options.onErrors([{ file, line: 0, field: '', message: errorText(error) }]);
      return;
    }
    const present = new Set(files);
    for (const file of [...this.#seen.keys()]) {
      if (present.has(file)) continue;
      this.#seen.delete(file);
      if (this.#good.delete(file)) changed = true;
    }
    for (const file of files) {
      let text: string;
      try {
        text = readFileSync(file.includes('/') ? file : join(this.options.dirs[0] ?? '', file), 'utf8');
      } catch {
        continue; // removed between the listing and now: the next look sees it
      }
      const hash = createHash('sha256').update(text).digest('hex');
      if (this.#seen.get(file) === hash) continue;
      this.#seen.set(file, hash);
      const parsed = parseManifests(file, text);
      if (parsed.errors.length > 0) {
        errors.push(...parsed.errors);
        continue;
      }
      this.#good.set(file, { hash, objects: parsed.objects });
      changed = true;
    }
    if (errors.length > 0) this.options.onErrors(errors);
    if (changed) this.options.onObjects([...this.#good.values()].flatMap(({ objects }) => objects));
  }
}
