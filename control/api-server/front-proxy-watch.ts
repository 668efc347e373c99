/** Keeps the settings of the API server's front proxy up to date: the API server writes them to a ConfigMap, and rotates the CA there. */
import { isDeepStrictEqual } from 'node:util';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../src/base/errors.js';
import { isRecord } from '../../src/base/record.js';
import { requestJson } from '../../src/kubernetes/request.js';
import type { ControlLog } from '../log.js';
import { readFrontProxy, type FrontProxy } from './front-proxy.js';

const configMapPath = '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication';
/** How long a removed CA or name is still believed, at most. */
const frontProxyCheckMs = 10_000;

export interface FrontProxyWatchOptions {
  readonly config: KubeConfig;
  /** Called with each change, first when the ConfigMap was read. Undefined: the ConfigMap names no front proxy. */
  readonly onChange: (frontProxy: FrontProxy | undefined) => void;
  readonly log: ControlLog;
  /** For tests. */
  readonly checkMs?: number;
}

export class FrontProxyWatch {
  #current: FrontProxy | undefined;
  /** The last logged problem; empty: the last read succeeded. */
  #lastProblem = '';
  #timer: NodeJS.Timeout | undefined;
  #isReading = false;

  constructor(private readonly options: FrontProxyWatchOptions) {}

  /** Resolves when the ConfigMap was read once, or could not be read. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#read(), this.options.checkMs ?? frontProxyCheckMs);
    await this.#read();
  }
  stop(): void {
    clearInterval(this.#timer);
  }

  async #read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      const object = await requestJson(this.options.config, 'GET', configMapPath);
      const read = readFrontProxy(isRecord(object) ? object['data'] : undefined);
      // The API server may be writing it, but a CA that it has removed must not be believed for longer.
      this.#set(read.ok ? read.value : undefined);
      this.#report(read.ok ? '' : read.errors.join('; '), 'nobody is served until it is corrected');
    } catch (error) {
      // A failure to read says nothing about the front proxy.
      this.#report(errorText(error), 'the last known front proxy stays');
    } finally {
      this.#isReading = false;
    }
  }

  #set(now: FrontProxy | undefined): void {
    if (isDeepStrictEqual(now, this.#current)) return;
    this.#current = now;
    this.options.onChange(now);
    if (now) this.options.log.info({ names: now.allowedNames }, 'the front proxy of the API server is known');
  }

  #report(problem: string, consequence: string): void {
    if (problem !== '' && problem !== this.#lastProblem)
      this.options.log.warn(
        { configMap: configMapPath, problem },
        `the front proxy cannot be read: ${consequence}`,
      );
    this.#lastProblem = problem;
  }
}
