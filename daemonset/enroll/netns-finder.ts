/**
 * Where the pods of this node are: the network namespace of each, found by the pod's UID in the cgroups of its processes, so
 * whatever the container runtime is. A namespace that was found is held open: its path stays good when the process that
 * led to it ends (a container that restarts), for as long as the pod is wanted and a while longer. Sole owner of these descriptors.
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

/**
 * How long a descriptor stays open after its pod was released. Connections that were captured before are still dialed by its path: for the
 * grace of the listeners, the wait for a certificate and three endpoints that time out. Closed earlier, such a dial would fail, or begin in
 * the namespace of another pod whose descriptor has the same number.
 */
const lingerMs = 60_000;

interface OpenNetns {
  readonly fd: number;
  /** net:[inode] */
  readonly link: string;
  /** A process of the pod that was seen in it; absent until there was one. */
  leader: string | undefined;
}

/** A process of a wanted pod that is in another network namespace than the agent. */
interface Candidate {
  readonly pid: string;
  readonly link: string;
  /** It is in the agent's user namespace: in one of its own a pod makes network namespaces as it likes. */
  readonly isPlain: boolean;
  /** In clock ticks since boot: PIDs begin anew, this does not. */
  readonly startedAt: number;
}

/** The sandbox's own process is older than whatever the pod did. */
const comesBefore = (a: Candidate, b: Candidate): boolean =>
  a.isPlain === b.isPlain ? a.startedAt < b.startedAt : a.isPlain;

/** Field 22 of /proc/PID/stat; the name in parentheses may hold anything. */
const startOf = (stat: string): number => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);

/** A process that has ended meanwhile: its files are gone, or it has none any more. */
const ended = (error: unknown): boolean =>
  ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');

export class NetnsFinder {
  readonly #open = new Map<string, OpenNetns>();
  /** Descriptors that are held no more, oldest first. */
  readonly #lingering: { readonly fd: number; readonly untilMs: number }[] = [];
  #problem: string | undefined;

  constructor(
    private readonly proc = '/proc',
    private readonly nowMs = (): number => performance.now(),
  ) {}

  /**
   * Why the last look was not a whole one: a pod that was not found then is not known to be nowhere. Undefined where all
   * processes were seen.
   */
  get problem(): string | undefined {
    return this.#problem;
  }

  /**
   * Looks for those that are not held yet, lets go of those that are no longer wanted. A pod whose processes have all left the
   * namespace that is held, while others are in another one, has a new sandbox; where not all could be seen that is not known.
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
    // At least this process is there: a /proc that shows none shows nothing.
    if (pids.length === 0) this.#problem = `${this.proc} shows no process`;
    for (const pid of pids) {
      const uid = this.#look(() => podUidOf(readFileSync(join(this.proc, pid, 'cgroup'), 'utf8')));
      const candidates = uid === undefined ? undefined : sought.get(uid);
      const candidate = candidates && this.#look(() => this.#candidate(pid, own.user));
      // A container that is being set up is in the runtime's namespace still.
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
    // Of one that nobody was in yet (the CNI plugin is ahead), other processes are the former sandbox's.
    if (open && (open.leader === undefined || !first.isPlain || this.#problem !== undefined)) return;
    const found = this.#look(() => openOf(join(this.proc, first.pid, 'ns', 'net'), first));
    if (!found) return;
    this.forget(uid);
    this.#open.set(uid, found);
  }

  /** Whether the process that led to it is in it still. */
  #isLed({ leader, link }: OpenNetns): boolean {
    try {
      return leader !== undefined && this.#linkOf(leader, 'net') === link;
    } catch {
      return false; // it is looked for, and what cannot be seen then is remembered
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

  /** A path that stays good while the pod is wanted; undefined where none of its processes was seen yet. */
  pathOf(uid: string): string | undefined {
    const open = this.#open.get(uid);
    return open && `/proc/self/fd/${open.fd}`;
  }

  /** Somebody else has found it (the CNI plugin), by a path that is good now. Throws where it is not. */
  hold(uid: string, path: string): void {
    const link = readlinkSync(path);
    if (this.#open.get(uid)?.link === link) return;
    const fd = openSync(path, 'r');
    this.forget(uid);
    this.#open.set(uid, { fd, link, leader: undefined });
  }

  /** The pod's sandbox was made anew: what was held is another namespace. */
  forget(uid: string): void {
    const open = this.#open.get(uid);
    if (!open) return;
    this.#open.delete(uid);
    this.#lingering.push({ fd: open.fd, untilMs: this.nowMs() + lingerMs });
  }

  /** Undefined where the process has ended, and where it could not be looked at, which is remembered. */
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

/** Undefined where the process has gone elsewhere meanwhile. */
function openOf(path: string, { pid, link }: Candidate): OpenNetns | undefined {
  return readlinkSync(path) === link ? { fd: openSync(path, 'r'), link, leader: pid } : undefined;
}
