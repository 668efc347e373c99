/**
 * The registry from files: a directory of ordinary Kubernetes manifests. An object that is wrong is refused with file, line and field, and
 * what its file last said of it well stays in force, as an API server refuses an update; the other objects of the file are taken. Nothing
 * goes out of force while its file is wrong: what is missing may be what cannot be read. What is said anew and cannot be read is in force
 * in its closed form: a policy that never was well closes what it selects. A Namespace whose labels are no text is read as if they were.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { errorText, WeftError } from '../../src/base/errors.js';
import { isManifest } from '../../src/kubernetes/manifests.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import { fileErrorText, parseManifests, type FileError, type Parsed, type Unused } from './parse.js';
import { duplicateObjects } from './duplicates.js';

/** Objects of one file that stay in force without being in it, as long as it is wrong. */
const keptMax = 10_000;
const filesMax = 10_000;
const pollMs = 300;
const quietMs = 30;

export interface FileSourceOptions {
  /** Read as one; a file's name need be its own within its directory alone. */
  readonly dirs: readonly string[];
  readonly onObjects: (objects: readonly MeshObject[]) => void;
  /** New ones; none where a file that had some is gone. */
  readonly onErrors: (errors: readonly FileError[]) => void;
  /** Objects of a file, as it is now, that say nothing to the mesh. */
  readonly onUnused?: (file: string, unused: readonly Unused[]) => void;
}

/** What is in force of one file. */
interface FileState {
  /** As it says now. */
  readonly valid: ReadonlyMap<ObjectKey, MeshObject>;
  /** As it said before, while it is wrong: what it does not say well now. */
  readonly retained: ReadonlyMap<ObjectKey, MeshObject>;
  /** Stands for what it says now and cannot be read. */
  readonly closed: readonly MeshObject[];
  /** Line of each object that it says now, those that it says twice too. */
  readonly lines: Parsed['lines'];
}

/** What is in force of a file that now says this. Undefined: as it was, since more than the limit would have to be kept. */
function stateOf(parsed: Parsed, before: FileState | undefined): FileState | undefined {
  const well = new Map(parsed.objects.map((object) => [objectKey(object), object]));
  const { lines } = parsed;
  if (parsed.errors.length === 0) return { valid: well, retained: new Map(), closed: [], lines };
  const inForce = objectsInForce(before);
  const kept = new Map([...inForce].filter(([key]) => !well.has(key)));
  if (kept.size > keptMax) return undefined;
  const closed = parsed.closed.filter((object) => !inForce.has(objectKey(object)));
  return { valid: well, retained: kept, closed, lines };
}

/**
 * Watches by looking: inotify misses changes on several file systems, and a directory of manifests is small. Where it does
 * tell, it is looked at sooner.
 */
export class FileSource {
  readonly #states = new Map<string, FileState>();
  /** Files in the order in which they are read: of an object that stands in two places the last counts. */
  #order: readonly string[] = [];
  #twice: ReadonlyMap<ObjectKey, FileError> = new Map();
  readonly #wrong = new Map<string, readonly FileError[]>();
  readonly #seen = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  readonly #watchers: FSWatcher[] = [];

  constructor(private readonly options: FileSourceOptions) {}

  /** What is wrong with files as they are now. */
  get problems(): readonly FileError[] {
    return [...[...this.#wrong.values()].flat(), ...this.#twice.values()];
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
          .filter(isManifest)
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
    const listed = files;
    // What is in force stays so: of more files than are read, some that are new are not.
    let room = filesMax - listed.filter((file) => this.#states.has(file)).length;
    files = listed.filter((file) => this.#states.has(file) || room-- > 0);
    const read = new Set(files);
    const excess = listed.find((file) => !read.has(file));
    if (excess !== undefined && (first || !this.#wrong.has(excess))) {
      const problem = { file: excess, line: 0, field: '', message: `more than ${filesMax} files` };
      this.#wrong.set(excess, [problem]);
      unreadable(problem);
    }
    const present = new Set(excess === undefined ? files : [...files, excess]);
    this.#order = files;
    let hasFewerProblems = false;
    for (const file of new Set([...this.#seen.keys(), ...this.#wrong.keys()])) {
      if (present.has(file)) continue;
      this.#seen.delete(file);
      if (this.#wrong.delete(file)) hasFewerProblems = true;
      if (this.#states.delete(file)) changed = true;
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
      if (parsed.unused.length > 0) this.options.onUnused?.(file, parsed.unused);
      if (parsed.unreadable) unreadable(parsed.unreadable);
      if (parsed.errors.length > 0) this.#wrong.set(file, parsed.errors);
      else if (this.#wrong.delete(file)) hasFewerProblems = true;
      errors.push(...parsed.errors);
      const before = this.#states.get(file);
      const state = stateOf(parsed, before);
      if (!state) {
        const message = `more than ${keptMax} objects that it had before are not in it: it stays as it was until it has no error`;
        const problem = { file, line: 0, field: '', message };
        this.#wrong.set(file, [problem, ...parsed.errors]);
        errors.push(problem);
        continue;
      }
      this.#states.set(file, state);
      if (!isSame(before, state)) changed = true;
    }
    if (changed) errors.push(...this.#compareAll());
    if (errors.length > 0 || hasFewerProblems) this.options.onErrors([...new Set(errors)]);
    if (!changed) return;
    const states = this.#inOrder().map(([, state]) => state);
    // What a file says now counts more than what another said before.
    this.options.onObjects([
      ...states.flatMap(({ retained: kept }) => [...kept.values()]),
      ...states.flatMap(({ valid: well }) => [...well.values()]),
      ...states.flatMap(({ closed }) => closed),
    ]);
  }

  #inOrder(): readonly (readonly [string, FileState])[] {
    return this.#order.flatMap((file) => {
      const state = this.#states.get(file);
      return state ? [[file, state] as const] : [];
    });
  }

  /** Returns what is new of objects that are said twice. */
  #compareAll(): FileError[] {
    const twice = duplicateObjects(this.#inOrder().map(([file, { lines }]) => [file, lines] as const));
    const known = this.#twice;
    this.#twice = twice;
    return [...twice]
      .filter(([key, { message }]) => known.get(key)?.message !== message)
      .map(([, one]) => one);
  }
}

const objectsInForce = (state: FileState | undefined): ReadonlyMap<ObjectKey, MeshObject> =>
  new Map([...(state?.retained ?? []), ...(state?.valid ?? [])]);
const isSame = (before: FileState | undefined, now: FileState): boolean =>
  before !== undefined &&
  isDeepStrictEqual(before.closed, now.closed) &&
  isDeepStrictEqual(objectsInForce(before), objectsInForce(now));

const unreadableError = (error: FileError): WeftError =>
  new WeftError(
    'WEFT_SOURCE_UNREADABLE',
    `${fileErrorText(error)}: it is not known what it closes; correct it, or move it away`,
  );
