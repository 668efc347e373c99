import { errorText } from '../../base/errors.js';
import { usageExitCode } from '../../base/usage.js';
import { printableLines } from '../printable.js';

/** An action of a command that ends as after wrong usage if its input cannot be used: 1 means that it found something. */
export const badInput =
  <A extends readonly unknown[]>(action: (...args: A) => Promise<void> | void) =>
  async (...args: A): Promise<void> => {
    try {
      await action(...args);
    } catch (error) {
      console.error(printableLines(`weft: ${errorText(error)}`));
      process.exitCode = usageExitCode;
    }
  };
