/** Commands that start a separate program: control plane, agent, carrier, waypoint, rate limit service and cleanup. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Command } from 'commander';
import { errorText } from '../base/errors.js';
import { servingNodeFlags } from '../base/node-flags.js';
import { programs } from './run.js';

/** Runs a program with the output, signals and exit code of this process. */
function become(program: string, args: readonly string[]): void {
  const child = spawn(program, args, { stdio: 'inherit' });
  child.on('error', (error) => {
    process.stderr.write(`weft: ${program} did not start: ${errorText(error)}\n`);
    process.exit(1);
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)));
}

/** A command that passes all options to the program, `--help` too. */
function passThrough(
  name: string,
  description: string,
  program: string,
  first: readonly string[] = [],
  nodeFlags: readonly string[] = [],
): Command {
  return new Command(name)
    .description(description)
    .allowUnknownOption()
    .helpOption(false)
    .argument('[args...]')
    .action((args: string[]) =>
      program.endsWith('.js')
        ? become(process.execPath, [...nodeFlags, program, ...first, ...args])
        : become(program, [...first, ...args]),
    );
}

export function programCommands(): Command[] {
  return [
    passThrough('control', 'run the control plane', programs.control),
    passThrough('token', 'print a join token for a node', programs.control, ['token']),
    passThrough('revoke-token', 'revoke join tokens', programs.control, ['revoke-token']),
    passThrough('rotate-root', "replace the control plane's root certificate", programs.control, [
      'rotate-root',
    ]),
    passThrough(
      'migrate',
      'move from Istio, Linkerd or SMI: check what works, and convert it',
      programs.control,
      ['migrate'],
    ),
    passThrough('agent', 'run the agent of a node', programs.agent, [], servingNodeFlags),
    passThrough('carrier', 'run the program that relays the bytes of a node', programs.carrier),
    passThrough('waypoint-proxy', 'run a waypoint', programs.waypoint),
    passThrough('rate-limiter', 'run the rate limit service', programs.rateLimiter),
    passThrough('cleanup', 'remove the pinned maps and programs of agents from the kernel', programs.cleanup),
  ];
}
