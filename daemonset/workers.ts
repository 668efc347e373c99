/** The worker threads. Each pod is assigned to one worker. A worker that dies takes only the connections of its pods with it. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { WeftError, errorText } from '../src/base/errors.js';
import type { SpiffeId } from '../src/model/identity.js';
import type { RelayStatus } from '../src/model/relay.js';
import type { WorkloadUid } from '../src/model/workload.js';
import type { MeshChange } from '../src/state/change.js';
import type { MeshState, MeshUpdate } from '../src/state/store.js';
import type { Svid } from '../src/tls/svid.js';
import type { FormerCarriers } from './carrier/former-carriers.js';
import { listMsMax, type NodeRelay } from './node-relay.js';
import type { FromWorker, LocalPod, ToWorker, WorkerSettings } from './worker-ipc.js';

export const workersDefault = Math.max(1, Math.floor(availableParallelism() / 2));
const callTimeoutMsMax = 30_000;
const codeOf = (error: unknown): string => (error instanceof WeftError ? error.code : '');

type Body<T> = T extends { call: number } ? Omit<T, 'call'> : never;

export interface WorkersOptions {
  readonly count: number;
  readonly settings: WorkerSettings;
  /** The workers' program; worker.js if absent. */
  readonly script?: URL;
  /** Time limit of a call; 30 s if absent. */
  readonly callTimeoutMsMax?: number;
  readonly state: MeshState;
  readonly svids: () => readonly Svid[];
  readonly onMessage: (message: FromWorker) => void;
  /** A worker was replaced. Its pods have no listeners until the caller assigns them again. */
  readonly onReplaced: (pods: readonly WorkloadUid[]) => void;
  readonly onDied: (why: string) => void;
  /** Why this relay is in use, for `weft status`. */
  readonly why?: string;
  /** Carriers that the former agent has used. */
  readonly former?: FormerCarriers;
}

interface Slot {
  worker: Worker;
  readonly pods: Map<WorkloadUid, LocalPod>;
  readonly calls: Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void; timer: NodeJS.Timeout }
  >;
}

export class Workers implements NodeRelay {
  readonly #options: WorkersOptions;
  readonly #slots: Slot[] = [];
  /** The pods that the workers were last sent. */
  #pods: ReadonlyMap<WorkloadUid, LocalPod> = new Map();
  #calls = 0;
  #stopping = false;
  /** Whether the maps exist and belong to this agent. */
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
        reject(new WeftError('WEFT_WORKER_DIED', 'a worker ended before it responded', { retryable: true }));
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

  /** The datapath's maps exist: workers may listen in pods from now on. A former agent that becomes active again opens them again. */
  openMaps(): void {
    this.#hasMaps = true;
    this.#options.former?.start();
    for (const { worker } of this.#slots) worker.postMessage({ type: 'maps' } satisfies ToWorker);
  }

  /** Workers write nothing in the kernel but for connections that are open here. */
  release(): void {
    this.#options.former?.release();
  }

  onMesh(update: MeshUpdate, change: MeshChange): void {
    this.broadcast({ type: 'mesh', update });
    this.#options.former?.onMesh(change);
  }

  onIdentities(wanted: ReadonlySet<SpiffeId>): void {
    this.broadcast({ type: 'identities', wanted });
  }

  onSvid(svid: Svid): void {
    this.broadcast({ type: 'svid', svid });
  }

  /** Workers decide each connection. Former carriers get no lease. */
  renewLease(_ms: number): void {
    this.#options.former?.follow();
  }

  tick(): void {
    this.#options.former?.tick();
  }

  status(): RelayStatus {
    const { former, why = '' } = this.#options;
    const problem = former?.problem ?? '';
    return {
      relay: 'typescript',
      carriers: former?.status() ?? [],
      why: problem === '' ? why : `${why}; policies do not reach the connections of a carrier: ${problem}`,
    };
  }

  /** The pods belong to another agent now. Connections that are open here continue until they end. */
  retire(): void {
    this.#options.former?.close();
    for (const { worker } of this.#slots) worker.postMessage({ type: 'retire' } satisfies ToWorker);
  }

  /** Resolves when no connection is open any more, or at the limit. */
  async whenEmpty(timeoutMs: number): Promise<void> {
    await Promise.all(
      this.#slots.map((slot) => this.#call(slot, { type: 'when-empty', timeoutMs }, timeoutMs + 5_000)),
    );
  }

  broadcast(message: Extract<ToWorker, { type: 'mesh' | 'pods' | 'svid' | 'identities' }>): void {
    for (const { worker } of this.#slots) worker.postMessage(message);
  }

  /** Sends all workers the pods of this node that are in the mesh: only the difference to the last call, compared by identity. */
  sync(pods: ReadonlyMap<WorkloadUid, LocalPod>): void {
    const before = this.#pods;
    this.#pods = new Map(pods);
    this.#options.former?.sync(pods);
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
          new WeftError('WEFT_WORKER_SILENT', `a worker did not respond to ${body.type} in ${timeoutMs} ms`, {
            retryable: true,
          }),
        );
      }, timeoutMs);
      slot.calls.set(call, { resolve, reject, timer });
      slot.worker.postMessage({ ...body, call });
    });
  }

  /**
   * Assigns a pod to the worker with the fewest pods. A pod that is already assigned stays with its worker, also if that worker did not
   * respond: it may respond late, and the listeners are then its. Errors: WEFT_WORKER_SILENT, WEFT_WORKER_DIED, WEFT_LISTEN.
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

  /**
   * Removes a pod from its worker. A worker handles its messages in order, so one that responds late to `assign` still unassigns the pod
   * afterwards. Errors: WEFT_WORKER_SILENT, WEFT_WORKER_DIED.
   */
  async unassign(uid: WorkloadUid): Promise<void> {
    const slot = this.#slots.find(({ pods }) => pods.has(uid));
    if (!slot) return;
    slot.pods.delete(uid);
    await this.#call(slot, { type: 'unassign', uid });
  }

  async connections(): Promise<object[]> {
    const list = (slot: Slot, at: number): Promise<unknown> =>
      this.#call(slot, { type: 'connections' }, listMsMax).catch((error: unknown) => ({
        missing: `connections of worker ${at}: ${errorText(error)}`,
      }));
    const lists = await Promise.all([...this.#slots.map(list), this.#options.former?.connections() ?? []]);
    return lists.flat() as object[];
  }

  /** Resolves when the connections that are open at the call have ended, or at the limit. New ones are accepted meanwhile. */
  async settle(timeoutMs: number): Promise<void> {
    await Promise.all(
      this.#slots.map((slot) => this.#call(slot, { type: 'settle', timeoutMs }, timeoutMs + 5_000)),
    );
  }

  /** Ends the workers. Resolves with how many connections were closed at the limit. */
  async drain(timeoutMs: number): Promise<number> {
    this.#stopping = true;
    this.#options.former?.close();
    const cut = await Promise.all(
      this.#slots.map((slot) => this.#call(slot, { type: 'drain', timeoutMs }, timeoutMs + 5_000)),
    );
    await Promise.all(this.#slots.map(({ worker }) => worker.terminate()));
    return (cut as number[]).reduce((sum, one) => sum + one, 0);
  }
}
