/**
 * The carriers of this node: connects to every one that has a socket in the directory, since a replaced carrier keeps its connections for
 * hours. The newest that fits is in use.
 */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.js';
import { connectChannel } from '../pod/channel.js';
import { CarrierConnection } from './connection.js';
import type { CarrierHello, State } from './gen/carrier.js';
import { boundedLimits } from './limit-names.js';
import { malformed, protocolVersion, silent, type FromCarrierKind } from './protocol.js';
import { CarrierSession, type SessionParts } from './session.js';

const scanMs = 200;
/** While a carrier is in use. The end of a connection is seen at once. */
const calmScanMs = 1_000;
const helloMsMax = 5_000;
/** After a carrier could not be used. */
const retryMs = 1_000;
/** A carrier listens at once after it has made its socket. A socket on which nobody listens after this is what a former carrier has left. */
const listenMsMax = 10_000;
/** A carrier whose connection ended and that lives is connected to again within this. */
const returnMsMax = 3_000;
const statesMax = 4_096;
const socketName = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63})\.sock$/;

export interface CarriersParts {
  readonly dir: string;
  readonly build: string;
  readonly session: SessionParts;
  /** The carrier sent its whole state: it can be used. */
  readonly onSession: (session: CarrierSession) => void;
  readonly onEnded: (session: CarrierSession, why: string) => void;
  readonly log: SessionParts['log'];
}

interface Peer {
  readonly connection: CarrierConnection;
  session: CarrierSession | undefined;
}

export class Carriers {
  readonly #parts: CarriersParts;
  /** By path and inode of the socket. */
  readonly #peers = new Map<string, Peer>();
  readonly #restUntilMs = new Map<string, number>();
  /** Of sockets whose connection has ended. */
  readonly #formers = new Map<string, CarrierSession>();
  /** Sockets that the last attempt found nobody listening on. */
  readonly #refusing = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #scannedMs = 0;
  #problem = 'not looked for yet';
  #isAnyThere = false;

  constructor(parts: CarriersParts) {
    const { session } = parts;
    this.#parts = { ...parts, session: { ...session, limitReached: boundedLimits(session.limitReached) } };
  }

  /** Why no carrier is in use. */
  get problem(): string {
    return this.#problem;
  }

  /** Whether somebody listens on a socket in the directory. */
  get isAnyThere(): boolean {
    return this.#isAnyThere;
  }

  /** Newest first. */
  get sessions(): readonly CarrierSession[] {
    return [...this.#peers.values()]
      .flatMap(({ session }) => session ?? [])
      .sort((a, b) => b.hello.startedMs - a.hello.startedMs);
  }

  /** The carrier that takes new pods: the newest that is not being replaced. */
  get newest(): CarrierSession | undefined {
    return this.sessions.find(({ isDraining }) => !isDraining);
  }

  start(): void {
    if (this.#timer) return;
    this.#timer = setInterval(() => this.#scanIfDue(), scanMs);
    this.#scan();
  }

  /** Another agent takes over. No further connection; those that are open stay until it replaces them. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const session of this.sessions) session.release();
  }

  close(): void {
    this.stop();
    for (const { connection } of this.#peers.values()) connection.close();
    this.#peers.clear();
    this.#formers.clear();
  }

  /** The flows of every carrier. */
  async connections(): Promise<object[]> {
    return (await Promise.all(this.sessions.map((session) => session.describe()))).flat();
  }

  /** A carrier that lives is connected to again, and says which flows it has. Another agent records the flows of one that it took over. */
  #awaitReturn(session: CarrierSession): void {
    if (!this.#timer) return session.onEnded();
    setTimeout(() => {
      const isBack = this.sessions.some((other) => other.isOf(session.hello));
      if (this.#timer && !isBack) session.onDied();
      else session.onEnded();
    }, returnMsMax).unref();
  }

  #scanIfDue(): void {
    const isCalm = this.newest !== undefined;
    if (!isCalm || performance.now() - this.#scannedMs >= calmScanMs) this.#scan();
  }

  #scan(): void {
    this.#scannedMs = performance.now();
    const { dir } = this.#parts;
    const present = new Set<string>();
    try {
      for (const file of readdirSync(dir)) {
        const name = socketName.exec(file)?.[1];
        if (name === undefined) continue;
        const path = join(dir, file);
        const { ino, mtimeMs } = statSync(path);
        const key = `${path}:${ino}`;
        if (this.#refusing.has(key) && Date.now() - mtimeMs > listenMsMax) {
          // The carrier cannot remove it: in its sandbox it opens no path.
          this.#refusing.delete(key);
          rmSync(path, { force: true });
          continue;
        }
        present.add(key);
        const isResting = (this.#restUntilMs.get(key) ?? 0) > performance.now();
        if (!this.#peers.has(key) && !isResting) this.#connect(key, path, name);
      }
      this.#isAnyThere = [...present].some((key) => !this.#refusing.has(key));
      if (present.size === 0)
        this.#problem = `no carrier has a socket in ${dir}: start weft-carrier, or the agent with --relay typescript`;
    } catch (error) {
      this.#problem = `${dir} cannot be read: ${errorText(error)}`;
    }
    for (const key of this.#restUntilMs.keys()) if (!present.has(key)) this.#restUntilMs.delete(key);
    for (const key of this.#formers.keys()) if (!present.has(key)) this.#formers.delete(key);
    for (const key of this.#refusing) if (!present.has(key)) this.#refusing.delete(key);
  }

  #connect(key: string, path: string, name: string): void {
    const { build } = this.#parts;
    const states: State[] = [];
    let hello: CarrierHello | undefined;
    let connection: CarrierConnection;
    const rest = (why: string): void => {
      this.#restUntilMs.set(key, performance.now() + retryMs);
      if (this.#problem !== `carrier ${name}: ${why}`)
        this.#parts.log.warn({ carrier: name, why }, 'a carrier cannot be used');
      this.#problem = `carrier ${name}: ${why}`;
    };
    const onMessage = (message: FromCarrierKind): void => {
      const session = peer.session;
      if (session) return session.onMessage(message);
      if (!hello) {
        if (message.$case !== 'hello') throw malformed('no hello');
        hello = message.value;
        const problem = misfitOf(hello);
        if (problem !== undefined) throw malformed(problem);
        return;
      }
      if (message.$case === 'log') return;
      if (message.$case !== 'state' || states.length >= statesMax) throw malformed('no state');
      states.push(message.value);
      if (!message.value.isLast) return;
      clearTimeout(timer);
      const former = this.#formers.get(key);
      this.#formers.delete(key);
      const again = former?.isOf(hello) === true ? former : undefined;
      peer.session = new CarrierSession(name, this.#parts.session, connection, hello, states, again);
      this.#problem = '';
      this.#parts.onSession(peer.session);
    };
    try {
      connection = new CarrierConnection(connectChannel(path), {
        onMessage,
        onObserved: (requests) => peer.session?.onObserved(requests),
        onBatch: (worker, batch) => peer.session?.acknowledge(worker, batch),
        onClosed: (why) => {
          clearTimeout(timer);
          if (this.#peers.get(key) !== peer) return;
          this.#peers.delete(key);
          rest(why);
          if (!peer.session) return;
          this.#formers.set(key, peer.session);
          this.#awaitReturn(peer.session);
          this.#parts.onEnded(peer.session, why);
        },
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).errno === constants.errno.ECONNREFUSED) this.#refusing.add(key);
      return rest(errorText(error));
    }
    this.#refusing.delete(key);
    const peer: Peer = { connection, session: undefined };
    this.#peers.set(key, peer);
    const timer = setTimeout(() => {
      connection.close();
      this.#peers.delete(key);
      rest(errorText(silent(`it sent no ${hello ? 'state' : 'hello'} within ${helloMsMax} ms`)));
    }, helloMsMax);
    connection.send({ $case: 'hello', value: { version: protocolVersion, build } });
  }
}

/** Why this agent cannot use a carrier. */
function misfitOf({ version }: CarrierHello): string | undefined {
  if (version === protocolVersion) return undefined;
  const versions = `it speaks version ${version} of their messages, this agent version ${protocolVersion}`;
  return version < protocolVersion
    ? `it is older than this agent: ${versions}. Upgrade the carrier`
    : `it is newer than this agent: ${versions}. Upgrade the agent`;
}
