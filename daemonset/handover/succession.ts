/**
 * Which of the agents of one instance writes in the kernel: the one that has the instance's lock. Another that starts beside it waits,
 * prepared, and asks for the node (protocol.ts); the one that has handed it over drains, and waits in turn, for the case that its
 * successor ends. Sole owner of the two locks and of the socket in `dir`, which only root can enter.
 *
 * `lock`: who writes. `next`: who may ask for it; so there is one successor at a time, and no third agent takes what is being given.
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
  type FromPresent,
  type FromSuccessor,
  type Inheritance,
  type When,
} from './protocol.js';

/** Between two attempts to become the one that writes. */
const lookMs = 200;
const reserveLookMs = 1_000;
/** For the present agent's response: it finishes its reconcile turn first, which may wait for a worker. */
const replyMsMax = 60_000;
/** A successor that needs longer to take over ends itself, so that the present agent can go on. */
const takeMsMax = 60_000;
const lockMsMax = 5_000;
/** Pause after a successor failed, before the node is handed over again; doubled with each failure. */
const restMs = { min: 10_000, max: 300_000 } as const;
/** A wait for one reason that lasts longer is counted as a limit. */
const waitMsMax = 30_000;

export type Role = 'waiting' | 'writing' | 'handing-over' | 'former';

export interface SuccessionParts {
  /** Made where it is not there, for root alone. */
  readonly dir: string;
  /** Path of a file that says that this agent has handed over before, also after a restart of its container. Absent: it is not kept. */
  readonly marker?: string;
  /** Whether an agent of a build without hand-over is there. */
  readonly formerBuild: () => Promise<Presence>;
  /** What this agent has certificates for and its pods need; undefined as long as it does not know its pods. */
  readonly certificates: () => readonly string[] | undefined;
  /** Whether the control plane tells this agent of changes now. */
  readonly isHeard: () => boolean;
  /** Makes this agent the one that writes; resolves when every pod that can has its listeners here. */
  readonly activate: (inherited: Inheritance | undefined) => Promise<void>;
  /** Stops writing, in everything; what this agent carries goes on. */
  readonly deactivate: () => Promise<Inheritance>;
  /** The successor has all pods. */
  readonly onHandedOver: () => void;
  /** The lock is this agent's again, or for the first time, and it could not use it: nothing helps but a new process. */
  readonly onFatal: (error: unknown) => void;
  readonly onLimit: (limit: 'handover-failed' | 'handover-waits') => void;
  /** A successor that sends nothing for so long is killed; 15 s where absent. */
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
  #hasCeded: boolean;
  #formerBuildThere = false;
  #failures = 0;
  #restUntilMs = 0;
  #waiting = { why: '', sinceMs: 0, isCounted: false };
  /** Why it is not known who has a lock. */
  #lockProblem: string | undefined;

  constructor(parts: SuccessionParts) {
    this.#parts = parts;
    this.#makeDir();
    this.#lock = new Lock(join(parts.dir, 'lock'));
    this.#next = new Lock(join(parts.dir, 'next'));
    this.#socketPath = join(parts.dir, 'socket');
    this.#hasCeded = parts.marker !== undefined && existsSync(parts.marker);
  }

  get role(): Role {
    return this.#role;
  }

  /** A build without hand-over has the node: all that this agent can do is to be there when it ends. */
  get waitsForFormerBuild(): boolean {
    return this.#role === 'waiting' && this.#formerBuildThere;
  }

  /** It has handed over, and waits for its successor's end alone. */
  get isReserve(): boolean {
    return this.#role === 'former' || (this.#role === 'waiting' && this.#hasCeded);
  }

  /** Resolves when this agent writes, or waits for the one that does. Rejects where it cannot write though nobody else does. */
  async start(): Promise<void> {
    if (await this.#isFree()) return this.#write(undefined);
    if (this.#lockProblem === undefined)
      this.#parts.log.info({}, 'another agent has this node: this one prepares to take it over');
    void this.#wait();
  }

  /** This agent ends: whoever asks gets the node, also one that had it before. */
  ending(): void {
    this.#isEnding = true;
  }

  /** No hand-over from now on, in either direction. `lock` stays held until the process ends, when none of its threads can write. */
  stop(): void {
    this.#isStopped = true;
    this.#closeServer();
    if (!this.#lock.isHeld) this.#next.release();
  }

  /** Call after stop, in an uninstall. This process keeps its lock on the deleted file: an agent that starts meanwhile makes a file of its own. */
  remove(): void {
    rmSync(this.#parts.dir, { recursive: true, force: true });
  }

  #makeDir(): void {
    mkdirSync(this.#parts.dir, { recursive: true });
    chmodSync(this.#parts.dir, 0o700);
  }

  /** What cannot be known is no lock that is free, nor a reason to end: what this agent carries goes on. */
  #tryTake(lock: Lock): boolean {
    try {
      const isTaken = lock.tryTake();
      this.#lockProblem = undefined;
      return isTaken;
    } catch (error) {
      this.#lockProblem = `the lock of this node could not be looked at: ${errorText(error)}`;
    }
    try {
      // An uninstall on this node takes it away.
      this.#makeDir();
    } catch {
      // That is why.
    }
    return false;
  }

  /** Nobody writes, and nobody else is about to. */
  async #isFree(): Promise<boolean> {
    if (!this.#tryTake(this.#next) || !this.#tryTake(this.#lock)) {
      this.#formerBuildThere = false;
      return false;
    }
    if ((await this.#parts.formerBuild()) === 'absent') return true;
    this.#lock.release();
    if (!this.#formerBuildThere)
      this.#parts.log.warn({}, 'an agent of a build without hand-over has this node: waiting for its end');
    this.#formerBuildThere = true;
    return false;
  }

  async #wait(): Promise<void> {
    while (!this.#isStopped) {
      try {
        if (!this.#tryTake(this.#next))
          this.#waitsFor(this.#lockProblem ?? 'another agent is to have this node next');
        else if (await this.#isFree()) return await this.#write(undefined);
        else if (this.#lockProblem !== undefined) this.#waitsFor(this.#lockProblem);
        else if (this.#formerBuildThere) this.#waitsFor('an agent of a build without hand-over');
        else if (await this.#ask()) return;
      } catch (error) {
        return this.#parts.onFatal(error);
      }
      // An agent that has handed over does not block those that have not.
      if (this.isReserve) this.#next.release();
      await sleep(this.isReserve ? reserveLookMs : lookMs);
    }
  }

  #waitsFor(why: string): void {
    const nowMs = performance.now();
    if (this.#waiting.why !== why) {
      this.#waiting = { why, sinceMs: nowMs, isCounted: false };
      this.#parts.log.info({ why }, 'this agent does not have the node');
    }
    if (this.#waiting.isCounted || this.isReserve || nowMs - this.#waiting.sinceMs < waitMsMax) return;
    this.#waiting.isCounted = true;
    this.#parts.onLimit('handover-waits');
    this.#parts.log.warn({ why, waitedMs: waitMsMax }, 'this agent still does not have the node');
  }

  /** True once this agent writes. */
  async #ask(): Promise<boolean> {
    const { certificates, log } = this.#parts;
    const own = certificates();
    if (!own) {
      this.#waitsFor('the control plane has not told yet which pods this node has');
      return false;
    }
    const socket = await connectTo(this.#socketPath);
    if (!socket) {
      this.#waitsFor('the present agent does not answer');
      return false;
    }
    const channel = new Channel<FromSuccessor, FromPresent>(socket);
    try {
      const when: When = this.#hasCeded ? 'ending' : 'any';
      channel.send({ type: 'take', when, certificates: own, isHeard: this.#parts.isHeard() });
      const reply = await channel.next(replyMsMax);
      if (reply === 'silent') this.#waitsFor('the present agent does not answer');
      if (reply === undefined || reply === 'silent') return false;
      if (reply.type === 'later') {
        this.#waitsFor(reply.why);
        await sleep(Math.min(reply.retryMs, 1_000));
        return false;
      }
      if (!(await this.#takeLock())) return false;
      log.info({}, 'this agent takes the node over');
      const alive = setInterval(() => channel.send({ type: 'alive' }), aliveMs);
      // The one before waits for it, and can go on only once this process has ended.
      const late = setTimeout(
        () =>
          this.#parts.onFatal(
            new WeftError('WEFT_HANDOVER', `the node could not be taken over in ${takeMsMax} ms`),
          ),
        takeMsMax,
      );
      try {
        await this.#write(decodeInheritance(reply.inheritance));
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

  async #write(inherited: Inheritance | undefined): Promise<void> {
    this.#role = 'writing';
    await this.#parts.activate(inherited);
    this.#hasCeded = false;
    if (this.#parts.marker !== undefined) rmSync(this.#parts.marker, { force: true });
    await this.#listenOrRetry();
    // Only now: another that asks finds somebody to ask.
    this.#next.release();
  }

  /** An agent that nobody can ask for its node has it all the same. */
  async #listenOrRetry(): Promise<void> {
    try {
      await this.#listen();
    } catch (error) {
      this.#parts.log.error({ error: errorText(error) }, 'no other agent can ask for this node, tried again');
      setTimeout(() => {
        if (this.#role === 'writing' && !this.#server) void this.#listenOrRetry();
      }, reserveLookMs).unref();
    }
  }

  async #listen(): Promise<void> {
    if (this.#isStopped) return;
    // Of an agent that was killed: whoever has the lock is alone with it.
    rmSync(this.#socketPath, { force: true });
    const server = net.createServer((socket) => {
      this.#give(socket).catch((error: unknown) => this.#parts.onFatal(error));
    });
    server.on('error', () => undefined);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#socketPath, resolve);
    });
    this.#server = server;
  }

  /** Called before the lock is released: closing removes the socket's path, where the next agent listens after that. */
  #closeServer(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  async #give(socket: net.Socket): Promise<void> {
    const parts = this.#parts;
    const channel = new Channel<FromPresent, FromSuccessor>(socket);
    const question = await channel.next(silentMsMax);
    if (question === undefined || question === 'silent' || question.type !== 'take') return channel.close();
    const restLeftMs = this.#restUntilMs - performance.now();
    const why = refusalOf(question, {
      isEnding: this.#isEnding,
      isBusy: this.#role !== 'writing' || !this.#server || this.#isStopped,
      isResting: restLeftMs > 0,
      isHeard: parts.isHeard(),
      certificates: parts.certificates() ?? [],
    });
    if (why !== undefined) {
      channel.send({ type: 'later', why, retryMs: Math.max(lookMs, restLeftMs) });
      return channel.close();
    }
    this.#role = 'handing-over';
    this.#closeServer();
    parts.log.info({}, 'another agent takes this node over');
    const inheritance = await parts.deactivate();
    this.#lock.release();
    channel.send({ type: 'yours', inheritance: encodeInheritance(inheritance) });
    const outcome = await this.#outcomeOf(channel);
    channel.close();
    if (outcome === 'done') return this.#becomeFormer();
    parts.log.error({ outcome }, 'the agent that was to take this node over did not: this one goes on');
    parts.onLimit('handover-failed');
    this.#restUntilMs = performance.now() + Math.min(restMs.min * 2 ** this.#failures++, restMs.max);
    if (await this.#takeLock()) return this.#write(inheritance);
    // A third has it.
    this.#becomeFormer();
  }

  async #outcomeOf(channel: Channel<FromPresent, FromSuccessor>): Promise<'done' | 'gone' | 'silent'> {
    for (;;) {
      const message = await channel.next(this.#parts.silentMsMax ?? silentMsMax);
      if (message === undefined) return 'gone';
      if (message === 'silent') {
        this.#end(channel.socket);
        return 'silent';
      }
      if (message.type === 'done') return 'done';
    }
  }

  /** Kills a successor that hangs: it has the lock, and maybe pods' listeners. Its kubelet starts it again. */
  #end(socket: net.Socket): void {
    const fd = fdOf(socket);
    try {
      const pid = fd === undefined ? 0 : peerPid(fd);
      if (pid > 1 && pid !== process.pid) process.kill(pid, 'SIGKILL');
    } catch (error) {
      this.#parts.log.error({ error: errorText(error) }, 'the silent successor could not be ended');
    }
  }

  #becomeFormer(): void {
    const { marker, log } = this.#parts;
    this.#role = 'former';
    this.#hasCeded = true;
    this.#failures = 0;
    try {
      if (marker !== undefined) writeFileSync(marker, '');
    } catch (error) {
      log.error({ error: errorText(error) }, 'that this node was handed over could not be written down');
    }
    log.info({}, 'this node is another agent’s: what is open here goes on to its end');
    this.#parts.onHandedOver();
    void this.#wait();
  }
}
