/** Commands that are programs of their own: control plane, agent and cleanup, started as processes. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Command } from 'commander';
import { programs } from './run.js';

/** Runs a program in this one's place: its output, signals and exit code. */
function become(program: string, args: readonly string[]): void {
  const child = spawn(process.execPath, [program, ...args], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)));
}

/** Options are the program's own, `--help` too. */
function passThrough(
  name: string,
  description: string,
  program: string,
  first: readonly string[] = [],
): Command {
  return new Command(name)
    .description(description)
    .allowUnknownOption()
    .helpOption(false)
    .argument('[args...]')
    .action((args: string[]) => become(program, [...first, ...args]));
}

export function programCommands(): Command[] {
  return [
    passThrough('control', 'run the control plane', programs.control),
    passThrough('token', "print a node's join token", programs.control, ['token']),
    passThrough('revoke-token', 'revoke join tokens', programs.control, ['revoke-token']),
    passThrough('rotate-root', "replace the control plane's root certificate", programs.control, [
      'rotate-root',
    ]),
    passThrough('agent', "run a node's agent", programs.agent),
    passThrough('waypoint-proxy', 'run a waypoint', programs.waypoint),
    passThrough('cleanup', 'remove what agents left in the kernel', programs.cleanup),
  ];
}
