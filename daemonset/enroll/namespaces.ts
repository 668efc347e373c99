/**
 * Where the pods of this node are: the network namespace of each, found by the pod's UID in the cgroups of its processes, so
 * whatever the container runtime is. A namespace that was found is held open: its path stays good when the process that
 * led to it ends (a container that restarts), for as long as the pod is wanted. Sole owner of these descriptors.
 */
import { closeSync, openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

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

export class PodNamespaces {
  readonly #held = new Map<string, Held>();

  constructor(private readonly proc = '/proc') {}

  /** Looks for those that are not held yet, lets go of those that are no longer wanted. */
  refresh(wanted: ReadonlySet<string>): void {
    for (const [uid, { fd }] of this.#held) {
      if (wanted.has(uid)) continue;
      this.#held.delete(uid);
      closeSync(fd);
    }
    const missing = new Set([...wanted].filter((uid) => !this.#held.has(uid)));
    if (missing.size === 0) return;
    let own = '';
    try {
      own = readlinkSync(join(this.proc, 'self', 'ns', 'net'));
    } catch {
      // Then no pod is mistaken for the node at worst by its cookie, which reconcile compares too.
    }
    for (const pid of readdirSync(this.proc)) {
      if (missing.size === 0) return;
      if (!/^\d+$/.test(pid)) continue;
      const uid = this.#podOf(pid);
      if (uid === undefined || !missing.has(uid)) continue;
      const found = this.#open(pid, own);
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

  #podOf(pid: string): string | undefined {
    try {
      return podUidOf(readFileSync(join(this.proc, pid, 'cgroup'), 'utf8'));
    } catch {
      return undefined; // it has ended meanwhile
    }
  }

  #open(pid: string, own: string): Held | undefined {
    const path = join(this.proc, pid, 'ns', 'net');
    try {
      const link = readlinkSync(path);
      // A container of the pod that is being set up is in the runtime's namespace still.
      if (link === own) return undefined;
      const fd = openSync(path, 'r');
      return { fd, link };
    } catch {
      return undefined;
    }
  }
}
