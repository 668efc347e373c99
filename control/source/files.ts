/**
 * The source of objects for a registry of files: directories of ordinary Kubernetes manifests. An invalid object is refused with file, line
 * and field, and its last valid content stays in force, as when an API server refuses an update. The other objects of the file are accepted.
 * While a file has errors, no object of it is removed: the missing object may be the unreadable one. A new object that cannot be read is in
 * force in its closed form: a policy that was never valid denies everything to what it selects. In a Namespace, label values that are
 * numbers or booleans are read as text.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, watch, type FSWatcher, type Stats } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { errorText, WeftError } from '../../src/base/errors.js';
import type { ChangeOrigin } from '../../src/model/change.js';
import { isManifest } from '../../src/kubernetes/manifests.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import { fileErrorText, parseManifests, type FileError, type Parsed, type Unused } from './parse.js';
import { duplicateObjects } from './duplicates.js';

/** Limit per file of objects that stay in force although the file, which has errors, no longer contains them. */
const keptMax = 10_000;
const filesMax = 10_000;
const pollMs = 300;
/** A file that was changed more recently may still be being written: what is missing in it may be a policy that follows. */
const quietMs = 50;
/** Most programs truncate a file before they write it, and on a busy machine the content may follow late. */
const emptyQuietMs = 1_000;

export interface FileSourceOptions {
  /** Read as one registry. Two directories may have files of the same name. */
  readonly dirs: readonly string[];
  readonly onObjects: (objects: readonly MeshObject[]) => void;
  /** Called with new errors. Called with an empty list when errors disappeared, for example with their file. */
  readonly onErrors: (errors: readonly FileError[]) => void;
  /** Called with the objects of a changed file that Weft does not use. */
  readonly onUnused?: (file: string, unused: readonly Unused[]) => void;
}

/** The objects of one file that are in force. */
interface FileState {
  /** Valid objects of the current content. */
  readonly valid: ReadonlyMap<ObjectKey, MeshObject>;
  /** Objects of earlier content that the current content does not replace with valid ones. Empty unless the file has errors. */
  readonly retained: ReadonlyMap<ObjectKey, MeshObject>;
  /** Closed forms of new objects that cannot be read. */
  readonly closed: readonly MeshObject[];
  /** Line of each valid object of the current content, duplicates included. */
  readonly lines: Parsed['lines'];
}

/** The new state of a file with this content. Undefined: the state stays as it was, because more than `keptMax` objects would be retained. */
function stateOf(parsed: Parsed, before: FileState | undefined): FileState | undefined {
  const valid = new Map(parsed.objects.map((object) => [objectKey(object), object]));
  const { lines } = parsed;
  if (parsed.errors.length === 0) return { valid, retained: new Map(), closed: [], lines };
  const inForce = objectsInForce(before);
  const retained = new Map([...inForce].filter(([key]) => !valid.has(key)));
  if (retained.size > keptMax) return undefined;
  const closed = parsed.closed.filter((object) => !inForce.has(objectKey(object)));
  return { valid, retained, closed, lines };
}

/**
 * Polls the directories: inotify misses changes on several file systems, and a directory of manifests is small. An inotify event only
 * triggers an earlier scan.
 */
export class FileSource {
  readonly #states = new Map<string, FileState>();
  /** Files in the order in which they are read: of an object that is defined twice, the last definition is in force. */
  #order: readonly string[] = [];
  #duplicates: ReadonlyMap<ObjectKey, FileError> = new Map();
  readonly #errors = new Map<string, readonly FileError[]>();
  readonly #seen = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  readonly #watchers: FSWatcher[] = [];

  /** The file of each object in force, and of those that the last change removed. */
  #files: ReadonlyMap<ObjectKey, string> = new Map();
  #formerFiles: ReadonlyMap<ObjectKey, string> = new Map();

  constructor(private readonly options: FileSourceOptions) {}

  /** The file that has the object, or had it until the last change. */
  originOf(key: ObjectKey): ChangeOrigin | undefined {
    const file = this.#files.get(key) ?? this.#formerFiles.get(key);
    return file === undefined ? undefined : { file };
  }

  /** All errors of the files as they are now. */
  get problems(): readonly FileError[] {
    return [...[...this.#errors.values()].flat(), ...this.#duplicates.values()];
  }

  /**
   * Reads all files, then watches them. Throws WEFT_SOURCE_MISSING if a directory is missing, and WEFT_SOURCE_UNREADABLE if a file cannot be
   * read: without its policies a control plane might open what they close, whereas nodes without a control plane keep their last state.
   */
  start(): void {
    for (const dir of this.options.dirs) {
      if (existsSync(dir) && statSync(dir).isDirectory()) continue;
      throw new WeftError(
        'WEFT_SOURCE_MISSING',
        `${dir} is not a directory: pass a directory of manifests with --from`,
      );
    }
    this.#scan(true);
    this.#timer = setInterval(() => this.#scan(false), pollMs);
    try {
      for (const dir of this.options.dirs) {
        const watcher = watch(dir, { persistent: false }, () => {
          this.#scanIn(quietMs);
        });
        watcher.on('error', () => watcher.close());
        this.#watchers.push(watcher);
      }
    } catch {
      // inotify is missing or exhausted: the timer finds the changes.
    }
  }

  stop(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    for (const watcher of this.#watchers) watcher.close();
  }

  #scanIn(ms: number): void {
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => this.#scan(false), ms);
  }

  #scan(first: boolean): void {
    let changed = first;
    const errors: FileError[] = [];
    /** At the start there is no earlier content that could stay in force. */
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
      // The directory itself is gone: this must not remove every object from the mesh.
      const file = this.options.dirs.join(' ');
      const problem = { file, line: 0, field: '', message: errorText(error) };
      if (first) throw unreadableError(problem);
      this.options.onErrors([problem]);
      return;
    }
    const listed = files;
    // Files in force take precedence: beyond the limit, new files are not read.
    let room = filesMax - listed.filter((file) => this.#states.has(file)).length;
    files = listed.filter((file) => this.#states.has(file) || room-- > 0);
    const read = new Set(files);
    const excess = listed.find((file) => !read.has(file));
    if (excess !== undefined && (first || !this.#errors.has(excess))) {
      const problem = { file: excess, line: 0, field: '', message: `more than ${filesMax} files` };
      this.#errors.set(excess, [problem]);
      unreadable(problem);
    }
    const present = new Set(excess === undefined ? files : [...files, excess]);
    this.#order = files;
    let hasFewerProblems = false;
    for (const file of new Set([...this.#seen.keys(), ...this.#errors.keys()])) {
      if (present.has(file)) continue;
      this.#seen.delete(file);
      if (this.#errors.delete(file)) hasFewerProblems = true;
      if (this.#states.delete(file)) changed = true;
    }
    let settledInMs = Infinity;
    for (const file of files) {
      const path = file.includes('/') ? file : join(this.options.dirs[0] ?? '', file);
      let text: string;
      const readAtMs = Date.now();
      try {
        text = first ? readAtStart(path) : readFileSync(path, 'utf8');
      } catch (error) {
        // ENOENT: the file was removed after the listing; the next scan handles it. Any other error leaves the file's objects in force.
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
        const problem = { file, line: 0, field: '', message: errorText(error) };
        if (first || this.#errors.get(file)?.[0]?.message !== problem.message) unreadable(problem);
        this.#errors.set(file, [problem]);
        this.#seen.delete(file);
        continue;
      }
      const hash = createHash('sha256').update(text).digest('hex');
      if (this.#seen.get(file) === hash) continue;
      // After the reading, so that a change during it counts.
      const unsettledMs = first ? 0 : unsettledForMs(path, readAtMs);
      if (unsettledMs > 0) {
        settledInMs = Math.min(settledInMs, unsettledMs);
        continue;
      }
      this.#seen.set(file, hash);
      const parsed = parseManifests(file, text);
      if (parsed.unused.length > 0) this.options.onUnused?.(file, parsed.unused);
      if (parsed.unreadable) unreadable(parsed.unreadable);
      if (parsed.errors.length > 0) this.#errors.set(file, parsed.errors);
      else if (this.#errors.delete(file)) hasFewerProblems = true;
      errors.push(...parsed.errors);
      const before = this.#states.get(file);
      const state = stateOf(parsed, before);
      if (!state) {
        const message = `more than ${keptMax} of its former objects are missing: its last state stays in force until it has no error`;
        const problem = { file, line: 0, field: '', message };
        this.#errors.set(file, [problem, ...parsed.errors]);
        errors.push(problem);
        continue;
      }
      this.#states.set(file, state);
      if (!isSame(before, state)) changed = true;
    }
    if (settledInMs < pollMs) this.#scanIn(settledInMs);
    if (changed) errors.push(...this.#compareAll());
    if (errors.length > 0 || hasFewerProblems) this.options.onErrors([...new Set(errors)]);
    if (!changed) return;
    this.#formerFiles = this.#files;
    this.#files = new Map(
      this.#inOrder().flatMap(([file, { valid, closed }]) =>
        [...valid.keys(), ...closed.map(objectKey)].map((key) => [key, file]),
      ),
    );
    const states = this.#inOrder().map(([, state]) => state);
    // The last definition of an object is in force: current content of one file precedes retained content of another.
    this.options.onObjects([
      ...states.flatMap(({ retained }) => [...retained.values()]),
      ...states.flatMap(({ valid }) => [...valid.values()]),
      ...states.flatMap(({ closed }) => closed),
    ]);
  }

  #inOrder(): readonly (readonly [string, FileState])[] {
    return this.#order.flatMap((file) => {
      const state = this.#states.get(file);
      return state ? [[file, state] as const] : [];
    });
  }

  /** Finds objects that are defined twice. Returns the new warnings. */
  #compareAll(): FileError[] {
    const twice = duplicateObjects(this.#inOrder().map(([file, { lines }]) => [file, lines] as const));
    const known = this.#duplicates;
    this.#duplicates = twice;
    return [...twice]
      .filter(([key, { message }]) => known.get(key)?.message !== message)
      .map(([, one]) => one);
  }
}

/**
 * For how long the content of a file, which was read at this time, may still be incomplete; 0: it is complete. A file that was written after
 * the reading is not complete, however long ago that is by now: on a busy machine this may run long after the reading.
 */
export function unsettledForMs(path: string, readAtMs: number): number {
  let stats: Stats;
  try {
    stats = statSync(path);
  } catch {
    // The file was removed after the reading, or its age is unknown: the next scan decides.
    return quietMs;
  }
  const neededMs = stats.size === 0 ? emptyQuietMs : quietMs;
  // A time in the future, as network file systems may state it, says nothing.
  if (stats.mtimeMs > Date.now() + neededMs) return 0;
  return Math.min(neededMs, Math.max(0, stats.mtimeMs + neededMs - readAtMs));
}

/** Without earlier content to keep, the caller waits for a file that is being written, or takes what there is if it is written all the time. */
function readAtStart(path: string): string {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const endMs = Date.now() + 2 * emptyQuietMs;
  for (;;) {
    const readAtMs = Date.now();
    const text = readFileSync(path, 'utf8');
    const unsettledMs = unsettledForMs(path, readAtMs);
    if (unsettledMs === 0 || Date.now() >= endMs) return text;
    Atomics.wait(pause, 0, 0, unsettledMs);
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
    `${fileErrorText(error)}: the file may contain policies that cannot be read; correct it, or move it away`,
  );
