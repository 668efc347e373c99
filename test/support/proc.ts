/** Programs that a test starts: each is tracked by its pid and ended after the test. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

export interface Program {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Output so far, at most the last 1 MiB of each stream. */
  stdout(): string;
  stderr(): string;
  /** Resolves to the exit code, or to the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

const outputBytesMax = 1 << 20;

export class Programs {
  readonly #running = new Set<Program>();

  /**
   * Starts a program; `netns`: a name below /run/netns, entered by nsenter (`ip netns exec` would hide the cgroups).
   * Rejects if it cannot be started.
   */
  async start(
    command: string,
    args: readonly string[],
    options: { readonly netns?: string; readonly stdin?: string } = {},
  ): Promise<Program> {
    const [file, all] =
      options.netns === undefined
        ? [command, [...args]]
        : ['nsenter', [`--net=/run/netns/${options.netns}`, '--', command, ...args]];
    const child = spawn(file, all, { stdio: ['pipe', 'pipe', 'pipe'] });
    await once(child, 'spawn');
    let stdout = '';
    let stderr = '';
    child.stdout
      .setEncoding('utf8')
      .on('data', (text: string) => (stdout = (stdout + text).slice(-outputBytesMax)));
    child.stderr
      .setEncoding('utf8')
      .on('data', (text: string) => (stderr = (stderr + text).slice(-outputBytesMax)));
    child.stdin.on('error', () => undefined);
    if (options.stdin !== undefined) child.stdin.end(options.stdin);
    const program: Program = {
      child,
      pid: child.pid as number,
      stdout: () => stdout,
      stderr: () => stderr,
      ended: once(child, 'close').then(([code, signal]) => {
        this.#running.delete(program);
        return (code ?? signal) as number | NodeJS.Signals;
      }),
    };
    this.#running.add(program);
    return program;
  }

  /** Runs a program to its end; kills it after `timeoutMs`. */
  async run(
    command: string,
    args: readonly string[],
    options: { readonly netns?: string; readonly stdin?: string; readonly timeoutMs?: number } = {},
  ): Promise<{ code: number | NodeJS.Signals; stdout: string; stderr: string }> {
    const program = await this.start(command, args, { stdin: '', ...options });
    const timer = setTimeout(() => program.child.kill('SIGKILL'), options.timeoutMs ?? 30_000);
    const code = await program.ended;
    clearTimeout(timer);
    return { code, stdout: program.stdout(), stderr: program.stderr() };
  }

  /** For after(): SIGTERM, then SIGKILL after `graceMs`. */
  async end(graceMs = 2_000): Promise<void> {
    await Promise.all(
      [...this.#running].map(async (program) => {
        program.child.kill('SIGTERM');
        const timer = setTimeout(() => program.child.kill('SIGKILL'), graceMs);
        await program.ended;
        clearTimeout(timer);
      }),
    );
  }
}
