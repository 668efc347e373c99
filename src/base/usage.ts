/** What all programs do when they are called in a wrong way: the same exit code, and what to do. */
import type { Command } from 'commander';
import { WeftError } from './errors.js';

/**
 * Nothing was done, because an option or argument is wrong or missing, or because input cannot be read. 1: it was tried, and failed, or
 * something was found. 3 and 4 are outcomes of commands that compare or explain. docs/errors.md lists them.
 */
export const usageExitCode = 2;

/** An option or argument has a value that cannot be used. `weft` ends with `usageExitCode`. */
export class UsageError extends WeftError {}

function nameOf(command: Command): string {
  const names: string[] = [];
  for (let one: Command | null = command; one; one = one.parent) names.unshift(one.name());
  return names.join(' ');
}

/**
 * Has a command and its subcommands end with `usageExitCode` if an option or argument is wrong or missing, and say where the right ones are.
 * Called when all subcommands are there: commander does not pass these settings on. Returns the command.
 */
export function withUsageErrors(command: Command): Command {
  command
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : usageExitCode))
    .showHelpAfterError(
      `${nameOf(command)} --help says which ${command.commands.length > 0 ? 'commands' : 'options and arguments'} there are`,
    );
  for (const one of command.commands) withUsageErrors(one);
  return command;
}
