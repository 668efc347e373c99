/** Writes to the API server by server-side apply. An object is written once, and again after it changes or a write failed. */
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';

const concurrentMax = 4;
const retryMs = 10_000;

/** The wanted state of an object or of a part of it, applied by Weft's field manager. */
export interface Write {
  readonly path: string;
  /** Absent: the object should not exist. */
  readonly body?: object;
}

export class ApplyQueue {
  /** The body to apply, as JSON, and (below) the body applied last, both by path. Undefined: deleted. */
  readonly #wanted = new Map<string, string | undefined>();
  readonly #applied = new Map<string, string | undefined>();
  readonly #queue = new Set<string>();
  #running = 0;
  #stopped = false;

  constructor(
    private readonly config: KubeConfig,
    private readonly onError: (path: string, error: unknown) => void,
  ) {}

  set({ path, body }: Write): void {
    const text = body && JSON.stringify(body);
    this.#wanted.set(path, text);
    if (this.#applied.has(path) && this.#applied.get(path) === text) return;
    this.#queue.add(path);
    this.#next();
  }

  /** Makes the next `set` write an unchanged body too: the object is not watched, and another client may have changed it. */
  markStale(path: string): void {
    this.#applied.delete(path);
  }

  /** Stops writing this path. The object stays as it is. */
  forget(path: string): void {
    this.#wanted.delete(path);
    this.#applied.delete(path);
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
    while (this.#running < concurrentMax && !this.#stopped) {
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
    // The path may have been forgotten meanwhile.
    const markApplied = (): void => {
      if (this.#wanted.has(path)) this.#applied.set(path, text);
    };
    try {
      if (text === undefined) await requestJson(this.config, 'DELETE', path);
      else {
        const body = JSON.parse(text) as object;
        await requestJson(this.config, 'PATCH', `${path}?fieldManager=weft-control&force=true`, body);
      }
      markApplied();
    } catch (error) {
      // 404: the object is gone. 409: another object has this name by now.
      if (error instanceof ApiError && (error.status === 404 || error.status === 409)) {
        markApplied();
        return;
      }
      this.onError(path, error);
      setTimeout(() => {
        if (this.#stopped || !this.#wanted.has(path)) return;
        this.#queue.add(path);
        this.#next();
      }, retryMs).unref();
    }
  }
}
