/** What the control plane writes into the API server: each thing once, again when it changes or was not taken. */
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';

const atOnce = 4;
const retryMs = 10_000;

/** One object, or a part of one, as it shall be: applied with our own field manager. */
export interface Write {
  readonly path: string;
  /** Absent: it shall not be there. */
  readonly body?: object;
}

export class Writer {
  /** By path: what shall be, and what was taken. */
  readonly #wanted = new Map<string, string | undefined>();
  readonly #taken = new Map<string, string | undefined>();
  readonly #queue = new Set<string>();
  #running = 0;
  #stopped = false;

  constructor(
    private readonly config: KubeConfig,
    private readonly onTrouble: (path: string, error: unknown) => void,
  ) {}

  set({ path, body }: Write): void {
    const text = body && JSON.stringify(body);
    this.#wanted.set(path, text);
    if (this.#taken.has(path) && this.#taken.get(path) === text) return;
    this.#queue.add(path);
    this.#next();
  }

  /** The next `set` writes, though it was taken before: somebody may have changed the object since, which no watch tells. */
  again(path: string): void {
    this.#taken.delete(path);
  }

  /** It concerns us no more; what is there stays as it is. */
  forget(path: string): void {
    this.#wanted.delete(path);
    this.#taken.delete(path);
    this.#queue.delete(path);
  }
  paths(): readonly string[] {
    return [...this.#wanted.keys()];
  }

  stop(): void {
    this.#stopped = true;
    this.#queue.clear();
  }

  #next(): void {
    while (this.#running < atOnce && !this.#stopped) {
      const [path] = this.#queue;
      if (path === undefined) return;
      this.#queue.delete(path);
      this.#running++;
      void this.#write(path).finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }

  async #write(path: string): Promise<void> {
    const text = this.#wanted.get(path);
    // What was forgotten meanwhile is not remembered again.
    const taken = (): void => {
      if (this.#wanted.has(path)) this.#taken.set(path, text);
    };
    try {
      if (text === undefined) await requestJson(this.config, 'DELETE', path);
      else {
        const body = JSON.parse(text) as object;
        await requestJson(this.config, 'PATCH', `${path}?fieldManager=weft-control&force=true`, body);
      }
      taken();
    } catch (error) {
      // What is gone needs no word; 409: the object of this name is another one by now.
      if (error instanceof ApiError && (error.status === 404 || error.status === 409)) {
        taken();
        return;
      }
      this.onTrouble(path, error);
      setTimeout(() => {
        if (this.#stopped || !this.#wanted.has(path)) return;
        this.#queue.add(path);
        this.#next();
      }, retryMs).unref();
    }
  }
}
