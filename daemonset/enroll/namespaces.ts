/**
 * Where the pods of this node are: the network namespace of each, found by the pod's UID in the cgroups of its processes, so
 * whatever the container runtime is. A namespace that was found is held open: its path stays good when the process that
 * led to it ends (a container that restarts), for as long as the pod is wanted. Sole owner of these descriptors.
 */
import { closeSync, openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.js';

/** `kubepods/burstable/pod<uid>/<container>`, with '_' for '-' where systemd names them. */
const uidPattern = /pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})/i;

/** The UID of the pod whose process has this /proc/PID/cgroup; undefined for others. Pure. */
export function podUidOf(cgroup: string): string | undefined {
  return uidPattern.exec(cgroup)?.[1]?.replaceAll('_', '-').toLowerCase();
}

interface Held {
  readonly fd: number;
  /** net:[inode] */
  readonly link: string;
}

/** A process that has ended meanwhile: its files are gone, or it has none any more. */
const ended = (error: unknown): boolean =>
  ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');

export class PodNamespaces {
  readonly #held = new Map<string, Held>();
  #trouble: string | undefined;

  constructor(private readonly proc = '/proc') {}

  /**
   * Why the last look was not a whole one: a pod that was not found then is not known to be nowhere. Undefined where all
   * processes were seen.
   */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Looks for those that are not held yet, lets go of those that are no longer wanted. */
  refresh(wanted: ReadonlySet<string>): void {
    this.#trouble = undefined;
    for (const uid of [...this.#held.keys()]) if (!wanted.has(uid)) this.forget(uid);
    const missing = new Set([...wanted].filter((uid) => !this.#held.has(uid)));
    if (missing.size === 0) return;
    let own: string;
    let pids: string[];
    try {
      own = readlinkSync(join(this.proc, 'self', 'ns', 'net'));
      pids = readdirSync(this.proc).filter((name) => /^\d+$/.test(name));
    } catch (error) {
      this.#trouble = errorText(error);
      return;
    }
    // At least this process is there: a /proc that shows none shows nothing.
    if (pids.length === 0) this.#trouble = `${this.proc} shows no process`;
    for (const pid of pids) {
      if (missing.size === 0) return;
      const uid = this.#look(() => podUidOf(readFileSync(join(this.proc, pid, 'cgroup'), 'utf8')));
      if (uid === undefined || !missing.has(uid)) continue;
      const found = this.#look(() => openOther(join(this.proc, pid, 'ns', 'net'), own));
      if (!found) continue;
      this.#held.set(uid, found);
      missing.delete(uid);
    }
  }

  /** A path that stays good while the pod is wanted; undefined where none of its processes was seen yet. */
  pathOf(uid: string): string | undefined {
    const held = this.#held.get(uid);
    return held && `/proc/self/fd/${held.fd}`;
  }

  /** Somebody else has found it (the CNI plugin), by a path that is good now. Throws where it is not. */
  hold(uid: string, path: string): void {
    const link = readlinkSync(path);
    if (this.#held.get(uid)?.link === link) return;
    const fd = openSync(path, 'r');
    this.forget(uid);
    this.#held.set(uid, { fd, link });
  }

  /** The pod's sandbox was made anew: what was held is another namespace. */
  forget(uid: string): void {
    const held = this.#held.get(uid);
    if (!held) return;
    this.#held.delete(uid);
    closeSync(held.fd);
  }

  /** Undefined where the process has ended, and where it could not be looked at, which is remembered. */
  #look<T>(at: () => T): T | undefined {
    try {
      return at();
    } catch (error) {
      if (!ended(error)) this.#trouble = errorText(error);
      return undefined;
    }
  }
}

/**
 * Whether a process is in the network namespace with this inode; undefined where not all of them could be looked at. The agent's own
 * listeners keep a namespace alive that everybody else has left.
 */
export function isInhabited(inode: number, proc = '/proc'): boolean | undefined {
  let whole = true;
  try {
    const pids = readdirSync(proc).filter((name) => /^\d+$/.test(name));
    if (pids.length === 0) return undefined;
    for (const pid of pids) {
      // The machine's first process is in the machine's own namespace, and some do not let it be looked at.
      if (pid === '1') continue;
      try {
        if (readlinkSync(join(proc, pid, 'ns', 'net')) === `net:[${inode}]`) return true;
      } catch (error) {
        if (!ended(error)) whole = false;
      }
    }
  } catch {
    return undefined;
  }
  return whole ? false : undefined;
}

/** A container of the pod that is being set up is in the runtime's namespace still: undefined. */
function openOther(path: string, own: string): Held | undefined {
  const link = readlinkSync(path);
  return link === own ? undefined : { fd: openSync(path, 'r'), link };
}
