/** The agent's side of the CNI plugin: its installation on the node, the socket for its requests, the namespaces whose pods wait. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.js';
import { admit, type AdmissionOptions } from './admission.js';
import { CniInstall } from './install.js';
import { serveCni } from './server.js';

export interface CniOptions {
  /** Path of the built plugin. */
  readonly program: string;
  /** The node's directories. */
  readonly binDir: string;
  readonly confDir: string;
  /** Directory on the node's disk, under the same path inside and outside a container. */
  readonly state: string;
  /** The agent's run directory, also under the same path inside and outside a container. */
  readonly run: string;
  readonly whenAgentIsAway: 'wait' | 'start';
  readonly log: { info(fields: object, text: string): void; error(fields: object, text: string): void };
}

/** CNI options from the agent's flags; undefined if the node's CNI directories are not given. */
export function cniOptionsOf(
  options: {
    readonly cniBinDir?: string;
    readonly cniConfDir?: string;
    readonly cniState: string;
    readonly cniWhenAway: 'wait' | 'start';
    readonly run: string;
  },
  program: string,
  log: CniOptions['log'],
): CniOptions | undefined {
  const { cniBinDir: binDir, cniConfDir: confDir, cniState: state, cniWhenAway, run } = options;
  if (binDir === undefined || confDir === undefined) return undefined;
  return { program, binDir, confDir, state, run, whenAgentIsAway: cniWhenAway, log };
}

const installOf = ({ program, binDir, confDir, state, run, whenAgentIsAway }: CniOptions): CniInstall =>
  new CniInstall({
    program,
    binDir,
    confDir,
    socket: join(run, 'cni', 'socket'),
    namespaces: join(state, 'cni', 'namespaces'),
    whenAgentIsAway,
  });

/** Removes the plugin that a previous agent process installed. */
export const removeCni = (options: CniOptions): void => installOf(options).remove();

export class Cni {
  readonly #options: CniOptions;
  readonly #install: CniInstall;
  #server: Awaited<ReturnType<typeof serveCni>> | undefined;
  #problem = '';

  private constructor(options: CniOptions) {
    this.#options = options;
    this.#install = installOf(options);
  }

  /** Responds to the plugin from now on; keep() installs the plugin. */
  static async start(
    options: CniOptions,
    agent: Omit<AdmissionOptions, 'whenAgentIsAway' | 'now' | 'sleep'>,
  ): Promise<Cni> {
    const cni = new Cni(options);
    const { whenAgentIsAway, run } = options;
    // Read on the first request. If it cannot be read, the request fails, and the runtime tries again.
    let former: ReadonlySet<string> | undefined;
    const isEnrolled = (namespace: string): boolean =>
      agent.synced()
        ? agent.isEnrolled(namespace)
        : (former ??= cni.#install.readNamespaces()).has(namespace);
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    cni.#server = await serveCni({
      path: join(run, 'cni', 'socket'),
      onAdd: (request) => admit(request, { ...agent, isEnrolled, whenAgentIsAway, now: Date.now, sleep }),
    });
    return cni;
  }

  /** Why the plugin is not installed; empty if it is. */
  get problem(): string {
    return this.#problem;
  }

  /**
   * Installs the plugin, or repairs its installation. Call only once the enrolled namespaces are known: an earlier installation would delay
   * other pods.
   */
  keep(enrolledNamespaces: Iterable<string>): void {
    const { log, confDir } = this.#options;
    try {
      this.#install.writeNamespaces(enrolledNamespaces);
      if (this.#install.keep()) log.info({ confDir }, 'CNI plugin installed');
      this.#problem = '';
    } catch (error) {
      const why = errorText(error);
      if (why !== this.#problem) log.error({ error: why }, 'the CNI plugin could not be installed; retrying');
      this.#problem = why;
    }
  }

  /** Stops responding. Waiting plugins see the end of their connection and decide by the list of namespaces on disk. */
  stop(): void {
    this.#server?.close();
    this.#server?.end();
  }

  /** Removes the plugin and its socket, because the mesh itself is being removed. */
  remove(): void {
    this.#install.remove();
    rmSync(join(this.#options.run, 'cni'), { recursive: true, force: true });
  }
}
