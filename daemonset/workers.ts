/** The worker threads: each pod is owned by one; a worker that dies takes only its pods' connections with it. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { WeftError } from '../src/base/errors.js';
import type { WorkloadUid } from '../src/model/workload.js';
import type { MeshState } from '../src/state/store.js';
import type { Svid } from '../src/tls/svid.js';
import type { FromWorker, LocalPod, ToWorker, WorkerSettings } from './worker-ipc.js';

export const workersDefault = Math.max(1, Math.floor(availableParallelism() / 2));
const callTimeoutMsMax = 30_000;
const codeOf = (error: unknown): string => (error instanceof WeftError ? error.code : '');

type Body<T> = T extends { call: number } ? Omit<T, 'call'> : never;

export interface WorkersOptions {
  readonly count: number;
  readonly settings: WorkerSettings;
  /** What the workers run; worker.js where absent. */
  readonly script?: URL;
  /** How long a call may take; 30 s where absent. */
  readonly callTimeoutMsMax?: number;
  readonly state: MeshState;
  readonly svids: () => readonly Svid[];
  readonly onMessage: (message: FromWorker) => void;
  /** Its pods have no listeners now: they are owned anew as soon as it is replaced. */
  readonly onReplaced: (pods: readonly WorkloadUid[]) => void;
  readonly onDied: (why: string) => void;
}

interface Slot {
  worker: Worker;
  readonly pods: Map<WorkloadUid, LocalPod>;
  readonly calls: Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void; timer: NodeJS.Timeout }
  >;
}

export class Workers {
  readonly #options: WorkersOptions;
  readonly #slots: Slot[] = [];
  /** As the workers were last told. */
  #pods: ReadonlyMap<WorkloadUid, LocalPod> = new Map();
  #calls = 0;
  #stopping = false;
  /** The maps are there, and this agent's to use. */
  #hasMaps = false;

  constructor(options: WorkersOptions) {
    this.#options = options;
    for (let i = 0; i < options.count; i++) this.#slots.push(this.#start());
  }

  #start(): Slot {
    const slot: Slot = { worker: this.#spawn(() => slot), pods: new Map(), calls: new Map() };
    return slot;
  }

  #spawn(slotOf: () => Slot): Worker {
    const worker = new Worker(this.#options.script ?? new URL('./worker.js', import.meta.url), {
      workerData: this.#options.settings,
    });
    worker.on('message', (message: FromWorker) => {
      if (message.type !== 'done' && message.type !== 'failed') return this.#options.onMessage(message);
      const call = slotOf().calls.get(message.call);
      if (!call) return;
      slotOf().calls.delete(message.call);
      clearTimeout(call.timer);
      if (message.type === 'done') call.resolve(message.result);
      else call.reject(new WeftError(message.code, message.message, { retryable: true }));
    });
    worker.on('error', (error) => this.#options.onDied(error.message));
    worker.on('exit', () => {
      const slot = slotOf();
      for (const { reject, timer } of slot.calls.values()) {
        clearTimeout(timer);
        reject(new WeftError('WEFT_WORKER_DIED', 'a worker ended before it answered', { retryable: true }));
      }
      slot.calls.clear();
      if (this.#stopping) return;
      const pods = [...slot.pods.keys()];
      slot.pods.clear();
      slot.worker = this.#spawn(() => slot);
      this.#brief(slot.worker);
      this.#options.onReplaced(pods);
    });
    return worker;
  }

  #brief(worker: Worker): void {
    const messages: ToWorker[] = [
      ...(this.#hasMaps ? [{ type: 'maps' } as const] : []),
      { type: 'mesh', update: this.#options.state.full() },
      { type: 'pods', pods: [...this.#pods.values()], removed: [] },
      ...this.#options.svids().map((svid): ToWorker => ({ type: 'svid', svid })),
    ];
    for (const message of messages) worker.postMessage(message);
  }

  /** The datapath's maps are there: workers may listen in pods from now on. A former agent that writes again opens them anew. */
  openMaps(): void {
    this.#hasMaps = true;
    for (const { worker } of this.#slots) worker.postMessage({ type: 'maps' } satisfies ToWorker);
  }

  /** The pods are another agent's now; what is open here goes on to its end. */
  retire(): void {
    for (const { worker } of this.#slots) worker.postMessage({ type: 'retire' } satisfies ToWorker);
  }

  /** Resolves when nobody is connected any more, or at the limit. */
  async whenEmpty(timeoutMs: number): Promise<void> {
    await Promise.all(
      this.#slots.map((slot) => this.#call(slot, { type: 'when-empty', timeoutMs }, timeoutMs + 5_000)),
    );
  }

  broadcast(message: Extract<ToWorker, { type: 'mesh' | 'pods' | 'svid' | 'identities' }>): void {
    for (const { worker } of this.#slots) worker.postMessage(message);
  }

  /** Tells all workers which pods of the node are in the mesh: what differs from the last time, by identity. */
  sync(pods: ReadonlyMap<WorkloadUid, LocalPod>): void {
    const before = this.#pods;
    this.#pods = new Map(pods);
    const changed = [...pods.values()].filter((local) => before.get(local.pod.uid) !== local);
    const removed = [...before.keys()].filter((uid) => !pods.has(uid));
    if (changed.length + removed.length > 0) this.broadcast({ type: 'pods', pods: changed, removed });
  }

  #call(
    slot: Slot,
    body: Body<ToWorker>,
    timeoutMs = this.#options.callTimeoutMsMax ?? callTimeoutMsMax,
  ): Promise<unknown> {
    const call = ++this.#calls;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        slot.calls.delete(call);
        reject(
          new WeftError('WEFT_WORKER_SILENT', `a worker did not answer ${body.type} in ${timeoutMs} ms`, {
            retryable: true,
          }),
        );
      }, timeoutMs);
      slot.calls.set(call, { resolve, reject, timer });
      slot.worker.postMessage({ ...body, call });
    });
  }

  /**
   * Owned by the worker with the fewest pods; a pod that is owned already stays where it is, also where its worker was silent:
   * it may answer late, and then the listeners are its. Errors: WEFT_WORKER_SILENT, WEFT_WORKER_DIED, WEFT_LISTEN.
   */
  async assign(local: LocalPod): Promise<void> {
    const uid = local.pod.uid;
    const slot =
      this.#slots.find(({ pods }) => pods.has(uid)) ??
      this.#slots.reduce((least, one) => (one.pods.size < least.pods.size ? one : least));
    slot.pods.set(uid, local);
    try {
      await this.#call(slot, { type: 'assign', pod: local });
    } catch (error) {
      if (codeOf(error) !== 'WEFT_WORKER_SILENT') slot.pods.delete(uid);
      throw error;
    }
  }

  /** A worker processes its messages in order, so a silent worker unassigns its pods late. */
  async unassign(uid: WorkloadUid): Promise<void> {
    const slot = this.#slots.find(({ pods }) => pods.has(uid));
    if (!slot) return;
    slot.pods.delete(uid);
    await this.#call(slot, { type: 'unassign', uid });
  }

  async connections(): Promise<object[]> {
    const lists = await Promise.all(this.#slots.map((slot) => this.#call(slot, { type: 'connections' })));
    return lists.flat() as object[];
  }

  /** Resolves when the connections of now have ended, or at the limit; new ones are carried meanwhile. */
  async settle(timeoutMs: number): Promise<void> {
    await Promise.all(
      this.#slots.map((slot) => this.#call(slot, { type: 'settle', timeoutMs }, timeoutMs + 5_000)),
    );
  }

  /** Resolves with how many connections had to be cut at the limit. */
  async drain(timeoutMs: number): Promise<number> {
    this.#stopping = true;
    const cut = await Promise.all(
      this.#slots.map((slot) => this.#call(slot, { type: 'drain', timeoutMs }, timeoutMs + 5_000)),
    );
    await Promise.all(this.#slots.map(({ worker }) => worker.terminate()));
    return (cut as number[]).reduce((sum, one) => sum + one, 0);
  }
}
