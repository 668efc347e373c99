import type { Command } from 'commander';
import { errorText } from '../../base/errors.js';
import { printableLines } from '../printable.js';

/** An action of a command that ends with exit code 2 if its input cannot be used: 1 means that it found something. */
export const badInput =
  <A extends readonly unknown[]>(action: (...args: A) => Promise<void> | void) =>
  async (...args: A): Promise<void> => {
    try {
      await action(...args);
    } catch (error) {
      console.error(printableLines(`weft: ${errorText(error)}`));
      process.exitCode = 2;
    }
  };

/** A wrong option or a missing argument ends with exit code 2 as well. Returns the command. */
export const badUsage = (command: Command): Command =>
  command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));
