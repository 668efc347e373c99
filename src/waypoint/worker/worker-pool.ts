/** The worker processes of the main process: starts them, sends them updates, reads their metrics and drains them. */
import cluster, { type Worker } from 'node:cluster';
import type { Logger } from 'pino';
import { errorText } from '../../base/errors.js';
import { sleep } from '../../base/wait.js';
import type { Edge } from '../../model/edge.js';
import type { TakenTaps } from '../../telemetry/taps.js';
import { sharedMemoryFd, SharedMemory } from '../shared/shared-memory.js';
import { SharedHealth } from '../cluster/shared-health.js';
import { servingNodeFlags } from '../../base/node-flags.js';
import type { FromWorker, ToWorker, WorkerSettings } from './worker-ipc.js';

const replyWaitMsMax = 2_000;
const respawnMs = 200;
/** Time for a worker to end after the drain timeout of its requests. */
const drainGraceMs = 2_000;

const reclaimMs = 1_000;

interface LiveWorker {
  readonly worker: Worker;
  readonly index: number;
  /** The process listens to messages. Messages sent before that are lost. */
  up: boolean;
  listening: boolean;
  readonly calls: Map<number, (values: object[]) => void>;
  drained: ((cut: number) => void) | undefined;
}

interface WorkerPoolOptions {
  readonly settings: WorkerSettings;
  /** Number of workers. */
  readonly count: number;
  readonly log: Logger;
  readonly onEdges: (edges: readonly Edge[]) => void;
  readonly onTapped: (taken: TakenTaps) => void;
  /** A token names a key that is not in the set from this URI. */
  readonly onUnknownKey: (uri: string) => void;
  /** Messages to a new worker after its settings, in order. */
  readonly initial: () => readonly ToWorker[];
}

export class WorkerPool {
  readonly #live = new Set<LiveWorker>();
  #stopping = false;
  #calls = 0;
  /** What the workers know about endpoints, for a new worker. */
  readonly #health = new SharedHealth();
  readonly #memory: ReturnType<typeof SharedMemory.create>;

  /** Errors: those of SharedMemory.create. */
  constructor(private readonly options: WorkerPoolOptions) {
    // All workers share one listening socket: the kernel gives each connection to a worker that waits in accept.
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    this.#memory = SharedMemory.create(options.count);
    const stdio: ('inherit' | 'ipc' | number)[] = ['inherit', 'inherit', 'inherit', 'ipc'];
    stdio[sharedMemoryFd] = this.#memory.fd;
    // Messages contain maps, which JSON cannot hold.
    cluster.setupPrimary({
      stdio,
      serialization: 'advanced',
      execArgv: [...servingNodeFlags, ...process.execArgv],
    });
  }

  start(): void {
    for (let index = 0; index < this.options.count; index++) this.#spawn(index);
    setInterval(() => this.#memory.reclaim(), reclaimMs).unref();
  }

  get size(): number {
    return this.#live.size;
  }

  /** At least one worker accepts connections. */
  get isListening(): boolean {
    return [...this.#live].some(({ listening }) => listening);
  }

  broadcast(message: ToWorker): void {
    for (const one of this.#live) send(one, message);
  }

  /**
   * The metrics of each worker that replies within 2 s; an empty list for the others. `names` false: only metrics whose labels name no pod,
   * principal, policy or route.
   */
  readMetrics(names: boolean): Promise<object[][]> {
    return Promise.all(this.#ask((call) => ({ type: 'metrics', call, names })));
  }

  /** The clusters of each worker, by process id; an empty list for a worker that does not reply within 2 s. */
  async readClusters(): Promise<{ readonly worker: number | undefined; readonly clusters: object[] }[]> {
    const workers = [...this.#live].map(({ worker }) => worker.process.pid);
    const lists = await Promise.all(this.#ask((call) => ({ type: 'clusters', call })));
    return lists.map((clusters, i) => ({ worker: workers[i], clusters }));
  }

  /** Sends a message to each worker. Resolves with its reply, or with an empty list if none comes in time. */
  #ask(message: (call: number) => ToWorker): Promise<object[]>[] {
    const call = ++this.#calls;
    return [...this.#live].map(
      (one) =>
        new Promise<object[]>((resolve) => {
          const done = (values: object[]): void => {
            clearTimeout(timer);
            one.calls.delete(call);
            resolve(values);
          };
          const timer = setTimeout(done, replyWaitMsMax, []);
          one.calls.set(call, done);
          send(one, message(call));
        }),
    );
  }

  /** From here on, a worker that exits is not replaced. */
  retire(): void {
    this.#stopping = true;
  }

  /** Drains all workers. Resolves when their requests have ended or time is up, with the number of connections that were cut. */
  async drain(timeoutMs: number): Promise<number> {
    const all = [...this.#live].map(
      (one) =>
        new Promise<number>((resolve) => {
          one.drained = resolve;
          send(one, { type: 'drain', timeoutMs });
        }),
    );
    const late = sleep(timeoutMs + drainGraceMs).then(() => [] as number[]);
    const cut = await Promise.race([Promise.all(all), late]);
    return cut.reduce((sum, one) => sum + one, 0);
  }

  kill(): void {
    for (const { worker } of this.#live) worker.kill('SIGKILL');
  }

  #spawn(index: number): void {
    const { log } = this.options;
    const worker = cluster.fork();
    const one: LiveWorker = {
      worker,
      index,
      up: false,
      listening: false,
      calls: new Map(),
      drained: undefined,
    };
    this.#live.add(one);
    worker.on('message', (message: FromWorker) => this.#onMessage(one, message));
    worker.on('error', (error) =>
      log.error({ error: errorText(error) }, 'a message to a worker could not be sent'),
    );
    worker.once('exit', (code, signal) => {
      this.#live.delete(one);
      this.#memory.forgetWorker(index);
      one.drained?.(0);
      if (this.#stopping) return;
      log.error({ code, signal }, 'a worker exited; starting another');
      setTimeout(() => {
        if (!this.#stopping) this.#spawn(index);
      }, respawnMs);
    });
  }

  #onMessage(one: LiveWorker, message: FromWorker): void {
    const { settings, initial, log } = this.options;
    switch (message.type) {
      case 'up':
        one.up = true;
        send(one, { type: 'start', settings, memory: this.#memory.settings, index: one.index });
        send(one, { type: 'health', changes: this.#health.full() });
        for (const next of initial()) send(one, next);
        return;
      case 'health':
        for (const change of message.changes) this.#health.apply(change);
        for (const other of this.#live) if (other !== one) send(other, message);
        return;
      case 'edges':
        return this.options.onEdges(message.edges);
      case 'tapped':
        return this.options.onTapped(message.taken);
      case 'refetch':
        return this.options.onUnknownKey(message.uri);
      case 'listening':
        one.listening = true;
        return;
      case 'reply':
        return one.calls.get(message.call)?.(message.values);
      case 'drained':
        return one.drained?.(message.cut);
      case 'log':
        return log[message.level](message.fields, message.text);
    }
  }
}

function send({ worker, up }: LiveWorker, message: ToWorker): void {
  if (up && worker.isConnected()) worker.send(message);
}
