/**
 * Finds the network namespace of each pod of this node. The finder looks in /proc for a process whose cgroup path contains the pod's UID,
 * so it works with any container runtime. It holds the namespace open, so that its path stays valid after that process ends (a container
 * that restarts), for as long as the pod is wanted and `lingerMs` longer. Sole owner of these descriptors.
 */
import { closeSync, openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.js';

/** `kubepods/burstable/pod<uid>/<container>`. The systemd cgroup driver writes '_' for '-'. */
const uidPattern = /pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})/i;

/** The pod UID in the text of /proc/PID/cgroup; undefined if the process is in no pod. Pure. */
export function podUidOf(cgroup: string): string | undefined {
  return uidPattern.exec(cgroup)?.[1]?.replaceAll('_', '-').toLowerCase();
}

/**
 * How long a descriptor stays open after its pod was released. Connections captured before the release are still dialed by the descriptor's
 * path: during the grace period of the listeners, the wait for a certificate and the timeouts of three endpoints. If the descriptor were
 * closed earlier, such a dial would fail, or would start in the network namespace of another pod whose descriptor got the same number.
 */
const lingerMs = 60_000;

interface OpenNetns {
  readonly fd: number;
  /** Target of the link /proc/PID/ns/net: `net:[inode]`. */
  readonly link: string;
  /** PID of a process of the pod that was seen in this namespace; undefined until one was seen. */
  leader: string | undefined;
}

/** A process of a wanted pod, in a network namespace other than the agent's. */
interface Candidate {
  readonly pid: string;
  readonly link: string;
  /** Whether the process is in the agent's user namespace. In a user namespace of its own, a pod can create any network namespace. */
  readonly isPlain: boolean;
  /** Start time in clock ticks since boot. PIDs wrap around, start times do not. */
  readonly startedAt: number;
}

/** The oldest process first: the sandbox's own process is older than anything that the pod started. */
const comesBefore = (a: Candidate, b: Candidate): boolean =>
  a.isPlain === b.isPlain ? a.startedAt < b.startedAt : a.isPlain;

/** Field 22 of /proc/PID/stat. The process name in parentheses may contain any character, so the fields after the last ')' are counted. */
const startOf = (stat: string): number => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);

/** Whether the error means that the process has ended meanwhile. */
const ended = (error: unknown): boolean =>
  ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');

export class NetnsFinder {
  readonly #open = new Map<string, OpenNetns>();
  /** Descriptors of released pods that are still open, oldest first. */
  readonly #lingering: { readonly fd: number; readonly untilMs: number }[] = [];
  #problem: string | undefined;

  constructor(
    private readonly proc = '/proc',
    private readonly nowMs = (): number => performance.now(),
  ) {}

  /**
   * Why the last scan of /proc was incomplete; undefined if it saw all processes. A pod that an incomplete scan did not find may still
   * exist.
   */
  get problem(): string | undefined {
    return this.#problem;
  }

  /**
   * Searches for the wanted pods whose network namespace is not held yet, and releases pods that are no longer wanted. A pod has a new
   * sandbox if all of its processes have left the held namespace while others of its processes are in another one; an incomplete scan
   * cannot tell.
   */
  refresh(wanted: ReadonlySet<string>): void {
    this.#problem = undefined;
    while ((this.#lingering[0]?.untilMs ?? Infinity) <= this.nowMs())
      closeSync((this.#lingering.shift() as { readonly fd: number }).fd);
    for (const uid of [...this.#open.keys()]) if (!wanted.has(uid)) this.forget(uid);
    const sought = new Map<string, Candidate[]>();
    for (const uid of wanted) {
      const open = this.#open.get(uid);
      if (!open || !this.#isLed(open)) sought.set(uid, []);
    }
    if (sought.size === 0) return;
    let own: { readonly net: string; readonly user: string };
    let pids: string[];
    try {
      own = { net: this.#linkOf('self', 'net'), user: this.#linkOf('self', 'user') };
      pids = readdirSync(this.proc).filter((name) => /^\d+$/.test(name));
    } catch (error) {
      this.#problem = errorText(error);
      return;
    }
    // At least this process exists: a /proc that lists no process shows nothing.
    if (pids.length === 0) this.#problem = `${this.proc} shows no process`;
    for (const pid of pids) {
      const uid = this.#look(() => podUidOf(readFileSync(join(this.proc, pid, 'cgroup'), 'utf8')));
      const candidates = uid === undefined ? undefined : sought.get(uid);
      const candidate = candidates && this.#look(() => this.#candidate(pid, own.user));
      // A container that is being set up is still in the network namespace of the runtime.
      if (candidate && candidate.link !== own.net) candidates.push(candidate);
    }
    for (const [uid, candidates] of sought) {
      candidates.sort((a, b) => (comesBefore(a, b) ? -1 : 1));
      this.#take(uid, candidates);
    }
  }

  #take(uid: string, candidates: readonly Candidate[]): void {
    const open = this.#open.get(uid);
    const within = open && candidates.find(({ link }) => link === open.link);
    if (within) {
      open.leader = within.pid;
      return;
    }
    const [first] = candidates;
    if (!first) return;
    // If no process was seen in the held namespace yet (the CNI plugin passed it early), these processes belong to the former sandbox.
    if (open && (open.leader === undefined || !first.isPlain || this.#problem !== undefined)) return;
    const found = this.#look(() => openOf(join(this.proc, first.pid, 'ns', 'net'), first));
    if (!found) return;
    this.forget(uid);
    this.#open.set(uid, found);
  }

  /** Whether the process that led to this network namespace is still in it. */
  #isLed({ leader, link }: OpenNetns): boolean {
    try {
      return leader !== undefined && this.#linkOf(leader, 'net') === link;
    } catch {
      return false; // the pod is searched for again, and that scan records what it cannot see
    }
  }

  #candidate(pid: string, ownUser: string): Candidate {
    return {
      pid,
      link: this.#linkOf(pid, 'net'),
      isPlain: this.#linkOf(pid, 'user') === ownUser,
      startedAt: startOf(readFileSync(join(this.proc, pid, 'stat'), 'utf8')),
    };
  }

  #linkOf(pid: string, kind: 'net' | 'user'): string {
    return readlinkSync(join(this.proc, pid, 'ns', kind));
  }

  /** Path of the pod's network namespace, valid while the pod is wanted; undefined if none of its processes was seen yet. */
  pathOf(uid: string): string | undefined {
    const open = this.#open.get(uid);
    return open && `/proc/self/fd/${open.fd}`;
  }

  /** Holds a network namespace that the CNI plugin passed by a path that is valid now. Throws if the path cannot be opened. */
  hold(uid: string, path: string): void {
    const link = readlinkSync(path);
    if (this.#open.get(uid)?.link === link) return;
    const fd = openSync(path, 'r');
    this.forget(uid);
    this.#open.set(uid, { fd, link, leader: undefined });
  }

  /** Stops holding the pod's network namespace, because the pod is unwanted or has a new sandbox. The descriptor lingers. */
  forget(uid: string): void {
    const open = this.#open.get(uid);
    if (!open) return;
    this.#open.delete(uid);
    this.#lingering.push({ fd: open.fd, untilMs: this.nowMs() + lingerMs });
  }

  /** Undefined if the process has ended, or if it could not be inspected; `problem` records the latter. */
  #look<T>(at: () => T): T | undefined {
    try {
      return at();
    } catch (error) {
      if (!ended(error)) this.#problem = errorText(error);
      return undefined;
    }
  }
}

/**
 * Whether a process is in the network namespace with this inode; undefined if some processes could not be inspected. The namespace's
 * existence proves nothing: the agent's own listeners keep it alive after all processes have left.
 */
export function isInhabited(inode: number, proc = '/proc'): boolean | undefined {
  let whole = true;
  try {
    const pids = readdirSync(proc).filter((name) => /^\d+$/.test(name));
    if (pids.length === 0) return undefined;
    for (const pid of pids) {
      // PID 1 is in the machine's own network namespace, and some machines do not allow it to be inspected.
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

/** Undefined if the process has moved to another network namespace meanwhile. */
function openOf(path: string, { pid, link }: Candidate): OpenNetns | undefined {
  return readlinkSync(path) === link ? { fd: openSync(path, 'r'), link, leader: pid } : undefined;
}
