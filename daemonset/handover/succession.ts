/**
 * Decides which agent of an instance is active: the one that holds the instance's lock writes the kernel's maps. An agent that starts
 * beside the active one prepares, and then asks for the node (protocol.ts). The agent that handed over drains, and then waits in case its
 * successor ends. Sole owner of the two locks and the socket in `dir`, which only root can enter.
 *
 * The lock file `lock` belongs to the active agent. The lock file `next` belongs to the agent that may ask for the node, so there is one
 * successor at a time and no third agent takes the node during a hand-over.
 */
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { errorText, WeftError } from '../../src/base/errors.js';
import { sleep } from '../../src/base/wait.js';
import { Lock, peerPid } from '../datapath/lock.js';
import { fdOf } from '../socket-fd.js';
import { Channel, connectTo } from './channel.js';
import type { Presence } from './former-build.js';
import {
  aliveMs,
  decodeInheritance,
  encodeInheritance,
  refusalOf,
  silentMsMax,
  type FromCurrent,
  type FromSuccessor,
  type Inheritance,
  type When,
} from './protocol.js';

/** Between two attempts to become the active agent. */
const pollMs = 200;
const reservePollMs = 1_000;
/** For the current agent's response. It first finishes its reconcile pass, which may wait for a worker. */
const replyMsMax = 60_000;
/** A successor that needs longer to take over ends its process, so that the current agent can continue. */
const takeMsMax = 60_000;
const lockMsMax = 5_000;
/** Pause after a failed successor before the next hand-over; doubled with each failure. */
const restMs = { min: 10_000, max: 300_000 } as const;
const notWaiting = { why: '', sinceMs: 0, isCounted: false };

/** A wait for one reason that lasts longer is counted as a reached limit. */
const waitMsMax = 30_000;

export type Role = 'waiting' | 'active' | 'handing-over' | 'former';

export interface SuccessionParts {
  /** Created if missing, accessible to root only. */
  readonly dir: string;
  /**
   * Path of a file that records that this agent has handed over, also across a restart of its container. If absent, that is not recorded.
   */
  readonly marker?: string;
  /** Whether an agent of a build without hand-over runs on this node. */
  readonly formerBuild: () => Promise<Presence>;
  /** Identities that this agent's pods need and that it has certificates for; undefined until it knows its pods. */
  readonly certificates: () => readonly string[] | undefined;
  /** Whether this agent is connected to the control plane and receives changes. */
  readonly isHeard: () => boolean;
  /** Makes this agent the active one. Resolves once every pod that can be enrolled has its listeners in this process. */
  readonly activate: (inherited: Inheritance | undefined) => Promise<void>;
  /** Stops all writes to the kernel. Connections that this agent relays continue. */
  readonly deactivate: () => Promise<Inheritance>;
  /** Called once the successor has all pods. */
  readonly onHandedOver: () => void;
  /** Called when this agent holds the lock but cannot become active. Only a new process helps. */
  readonly onFatal: (error: unknown) => void;
  readonly onLimit: (limit: 'handover-failed' | 'handover-waits') => void;
  /** A successor that sends nothing for this long is killed; 15 s if absent. */
  readonly silentMsMax?: number;
  readonly log: Record<'info' | 'warn' | 'error', (fields: object, text: string) => void>;
}

export class Succession {
  readonly #parts: SuccessionParts;
  readonly #lock: Lock;
  readonly #next: Lock;
  readonly #socketPath: string;
  #role: Role = 'waiting';
  #server: net.Server | undefined;
  #isEnding = false;
  #isStopped = false;
  #hasHandedOver: boolean;
  #formerBuildThere = false;
  #failures = 0;
  #restUntilMs = 0;
  #waiting = notWaiting;
  /** Why the state of a lock is unknown. */
  #lockProblem: string | undefined;

  constructor(parts: SuccessionParts) {
    this.#parts = parts;
    this.#makeDir();
    this.#lock = new Lock(join(parts.dir, 'lock'));
    this.#next = new Lock(join(parts.dir, 'next'));
    this.#socketPath = join(parts.dir, 'socket');
    this.#hasHandedOver = parts.marker !== undefined && existsSync(parts.marker);
  }

  get role(): Role {
    return this.#role;
  }

  /** Whether an agent of a build without hand-over owns the node. This agent can only wait until that agent ends. */
  get waitsForFormerBuild(): boolean {
    return this.#role === 'waiting' && this.#formerBuildThere;
  }

  /** Whether this agent has handed over and only waits in case its successor ends. */
  get isReserve(): boolean {
    return this.#role === 'former' || (this.#role === 'waiting' && this.#hasHandedOver);
  }

  /** Resolves when this agent is active or waits for the active agent. Rejects if it cannot become active although no other agent is. */
  async start(): Promise<void> {
    if (await this.#tryClaim()) return this.#activate(undefined);
    if (this.#lockProblem === undefined)
      this.#parts.log.info({}, 'another agent owns this node: this agent prepares to take it over');
    void this.#waitForNode();
  }

  /** This agent is about to end. It then hands over to any agent that asks, also to one that has handed over before. */
  ending(): void {
    this.#isEnding = true;
  }

  /**
   * Ends all hand-overs, in either direction. `lock` stays held until the process ends, because only then can none of its threads write.
   */
  stop(): void {
    this.#isStopped = true;
    this.#closeServer();
    if (!this.#lock.isHeld) this.#next.release();
  }

  /**
   * Call after stop, in an uninstall. This process keeps its lock on the deleted file. An agent that starts meanwhile creates a new file.
   */
  remove(): void {
    rmSync(this.#parts.dir, { recursive: true, force: true });
  }

  #makeDir(): void {
    mkdirSync(this.#parts.dir, { recursive: true });
    chmodSync(this.#parts.dir, 0o700);
  }

  /** An error neither means that the lock is free nor ends the process: this agent continues to relay its connections. */
  #tryTake(lock: Lock): boolean {
    try {
      const isTaken = lock.tryTake();
      this.#lockProblem = undefined;
      return isTaken;
    } catch (error) {
      this.#lockProblem = `the lock of this node could not be read: ${errorText(error)}`;
    }
    try {
      // An uninstall on this node removes the directory.
      this.#makeDir();
    } catch {
      // `#lockProblem` already holds the reason.
    }
    return false;
  }

  /** Takes both locks if no agent is active and none is about to become active. True if this agent now holds them. */
  async #tryClaim(): Promise<boolean> {
    if (!this.#tryTake(this.#next) || !this.#tryTake(this.#lock)) {
      this.#formerBuildThere = false;
      return false;
    }
    if ((await this.#parts.formerBuild()) === 'absent') return true;
    this.#lock.release();
    if (!this.#formerBuildThere)
      this.#parts.log.warn({}, 'an agent of a build without hand-over owns this node: waiting until it ends');
    this.#formerBuildThere = true;
    return false;
  }

  async #waitForNode(): Promise<void> {
    while (!this.#isStopped) {
      try {
        if (!this.#tryTake(this.#next))
          this.#reportWaiting(this.#lockProblem ?? 'another agent already waits for this node');
        else if (await this.#tryClaim()) return await this.#activate(undefined);
        else if (this.#lockProblem !== undefined) this.#reportWaiting(this.#lockProblem);
        else if (this.#formerBuildThere) this.#reportWaiting('an agent of a build without hand-over');
        else if (await this.#requestNode()) return;
      } catch (error) {
        return this.#parts.onFatal(error);
      }
      // An agent that has handed over must not block agents that have not.
      if (this.isReserve) this.#next.release();
      await sleep(this.isReserve ? reservePollMs : pollMs);
    }
  }

  #reportWaiting(why: string): void {
    const nowMs = performance.now();
    if (this.#waiting.why !== why) {
      this.#waiting = { why, sinceMs: nowMs, isCounted: false };
      this.#parts.log.info({ why }, 'this agent does not own the node');
    }
    if (this.#waiting.isCounted || this.isReserve || nowMs - this.#waiting.sinceMs < waitMsMax) return;
    this.#waiting.isCounted = true;
    this.#parts.onLimit('handover-waits');
    this.#parts.log.warn({ why, waitedMs: waitMsMax }, 'this agent still does not own the node');
  }

  /** Asks the current agent for the node. True once this agent is active. */
  async #requestNode(): Promise<boolean> {
    const { certificates, log } = this.#parts;
    const own = certificates();
    if (!own) {
      this.#reportWaiting('the control plane has not sent the pods of this node yet');
      return false;
    }
    const socket = await connectTo(this.#socketPath);
    if (!socket) {
      this.#reportWaiting('the current agent does not respond');
      return false;
    }
    const channel = new Channel<FromSuccessor, FromCurrent>(socket);
    try {
      const when: When = this.#hasHandedOver ? 'ending' : 'any';
      channel.send({ type: 'take', when, certificates: own, isHeard: this.#parts.isHeard() });
      const reply = await channel.next(replyMsMax);
      if (reply === 'silent') this.#reportWaiting('the current agent does not respond');
      if (reply === undefined || reply === 'silent') return false;
      if (reply.type === 'later') {
        this.#reportWaiting(reply.why);
        await sleep(Math.min(reply.retryMs, 1_000));
        return false;
      }
      if (!(await this.#takeLock())) return false;
      log.info({}, 'this agent takes the node over');
      const alive = setInterval(() => channel.send({ type: 'alive' }), aliveMs);
      // The current agent waits for this process, and can continue only once this process has ended.
      const late = setTimeout(
        () =>
          this.#parts.onFatal(
            new WeftError('WEFT_HANDOVER', `taking over the node did not finish in ${takeMsMax} ms`),
          ),
        takeMsMax,
      );
      try {
        await this.#activate(decodeInheritance(reply.inheritance));
      } finally {
        clearInterval(alive);
        clearTimeout(late);
      }
      channel.send({ type: 'done' });
      return true;
    } finally {
      channel.close();
    }
  }

  async #takeLock(): Promise<boolean> {
    const untilMs = performance.now() + lockMsMax;
    while (!this.#tryTake(this.#lock)) {
      if (performance.now() > untilMs || this.#isStopped) return false;
      await sleep(20);
    }
    return true;
  }

  async #activate(inherited: Inheritance | undefined): Promise<void> {
    this.#role = 'active';
    // Once it waits again, the reason is news, even if it is the same.
    this.#waiting = notWaiting;
    await this.#parts.activate(inherited);
    this.#hasHandedOver = false;
    if (this.#parts.marker !== undefined) rmSync(this.#parts.marker, { force: true });
    await this.#listenOrRetry();
    // Released only now, so that the next agent that asks finds a listener.
    this.#next.release();
  }

  /** If the socket cannot be opened, this agent stays active, but no successor can ask it for the node until a retry succeeds. */
  async #listenOrRetry(): Promise<void> {
    try {
      await this.#listen();
    } catch (error) {
      this.#parts.log.error(
        { error: errorText(error) },
        'hand-over socket not opened: no other agent can ask for this node; retrying',
      );
      setTimeout(() => {
        if (this.#role === 'active' && !this.#server) void this.#listenOrRetry();
      }, reservePollMs).unref();
    }
  }

  async #listen(): Promise<void> {
    if (this.#isStopped) return;
    // A killed agent left its socket. The holder of the lock is the only agent that uses this path.
    rmSync(this.#socketPath, { force: true });
    const server = net.createServer((socket) => {
      this.#handOver(socket).catch((error: unknown) => this.#parts.onFatal(error));
    });
    server.on('error', () => undefined);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#socketPath, resolve);
    });
    this.#server = server;
  }

  /** Call before the lock is released. Closing removes the socket's path, and the next agent then listens there. */
  #closeServer(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  async #handOver(socket: net.Socket): Promise<void> {
    const parts = this.#parts;
    const channel = new Channel<FromCurrent, FromSuccessor>(socket);
    const question = await channel.next(silentMsMax);
    if (question === undefined || question === 'silent' || question.type !== 'take') return channel.close();
    const restLeftMs = this.#restUntilMs - performance.now();
    const why = refusalOf(question, {
      isEnding: this.#isEnding,
      isBusy: this.#role !== 'active' || !this.#server || this.#isStopped,
      isResting: restLeftMs > 0,
      isHeard: parts.isHeard(),
      certificates: parts.certificates() ?? [],
    });
    if (why !== undefined) {
      channel.send({ type: 'later', why, retryMs: Math.max(pollMs, restLeftMs) });
      return channel.close();
    }
    this.#role = 'handing-over';
    this.#closeServer();
    parts.log.info({}, 'another agent takes over this node');
    const inheritance = await parts.deactivate();
    this.#lock.release();
    channel.send({ type: 'yours', inheritance: encodeInheritance(inheritance) });
    const outcome = await this.#outcomeOf(channel);
    channel.close();
    if (outcome === 'done') return this.#becomeFormer();
    parts.log.error({ outcome }, 'the successor did not take over this node: this agent continues');
    parts.onLimit('handover-failed');
    this.#restUntilMs = performance.now() + Math.min(restMs.min * 2 ** this.#failures++, restMs.max);
    if (await this.#takeLock()) return this.#activate(inheritance);
    // Another agent has taken the lock meanwhile.
    this.#becomeFormer();
  }

  async #outcomeOf(channel: Channel<FromCurrent, FromSuccessor>): Promise<'done' | 'gone' | 'silent'> {
    for (;;) {
      const message = await channel.next(this.#parts.silentMsMax ?? silentMsMax);
      if (message === undefined) return 'gone';
      if (message === 'silent') {
        this.#killSuccessor(channel.socket);
        return 'silent';
      }
      if (message.type === 'done') return 'done';
    }
  }

  /** Kills a successor that hangs. It holds the lock, and maybe listeners of pods. Its kubelet restarts it. */
  #killSuccessor(socket: net.Socket): void {
    const fd = fdOf(socket);
    try {
      const pid = fd === undefined ? 0 : peerPid(fd);
      if (pid > 1 && pid !== process.pid) process.kill(pid, 'SIGKILL');
    } catch (error) {
      this.#parts.log.error({ error: errorText(error) }, 'the unresponsive successor could not be killed');
    }
  }

  #becomeFormer(): void {
    const { marker, log } = this.#parts;
    this.#role = 'former';
    this.#hasHandedOver = true;
    this.#failures = 0;
    try {
      if (marker !== undefined) writeFileSync(marker, '');
    } catch (error) {
      log.error({ error: errorText(error) }, 'the marker of the hand-over could not be written');
    }
    log.info(
      {},
      'this node belongs to another agent now: connections that are open here continue until they end',
    );
    this.#parts.onHandedOver();
    void this.#waitForNode();
  }
}
