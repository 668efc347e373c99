/** The agent's side of the CNI plugin: its place on the node, the socket that it asks at, the namespaces whose pods wait. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.js';
import { admit, type AdmissionOptions } from './admission.js';
import { CniInstall } from './install.js';
import { serveCni } from './server.js';

export interface CniOptions {
  /** The plugin as it was built. */
  readonly program: string;
  /** The node's directories. */
  readonly binDir: string;
  readonly confDir: string;
  /** Kept on the node's disk, by the same path inside and outside of a container. */
  readonly state: string;
  /** The agent's run directory, likewise. */
  readonly run: string;
  readonly whenAgentIsAway: 'wait' | 'start';
  readonly log: { info(fields: object, text: string): void; error(fields: object, text: string): void };
}

/** Of the agent's flags; undefined where the node's directories are not named. */
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

/** What a former life of the agent put there, where it is not wanted any more. */
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

  /** Answers from now on; the plugin is put in its place by keep(). */
  static async start(
    options: CniOptions,
    agent: Omit<AdmissionOptions, 'whenAgentIsAway' | 'now' | 'sleep'>,
  ): Promise<Cni> {
    const cni = new Cni(options);
    const { whenAgentIsAway, run } = options;
    // Read when it is asked for: what cannot be read then is told to the runtime, which tries again.
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

  /** Why it is not in its place; empty where it is. */
  get problem(): string {
    return this.#problem;
  }

  /** Puts right what is not as it should be; call once it is known whom it concerns: before, it would hold others up. */
  keep(enrolledNamespaces: Iterable<string>): void {
    const { log, confDir } = this.#options;
    try {
      this.#install.writeNamespaces(enrolledNamespaces);
      if (this.#install.keep()) log.info({ confDir }, 'the CNI plugin is in its place');
      this.#problem = '';
    } catch (error) {
      const why = errorText(error);
      if (why !== this.#problem) log.error({ error: why }, 'the CNI plugin is not in its place, tried again');
      this.#problem = why;
    }
  }

  /** Who is asking is told by the end of its connection, and goes by what is on the disk. */
  stop(): void {
    this.#server?.close();
    this.#server?.end();
  }

  /** The mesh itself goes: nothing is left. */
  remove(): void {
    this.#install.remove();
    rmSync(join(this.#options.run, 'cni'), { recursive: true, force: true });
  }
}
