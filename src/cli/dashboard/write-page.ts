/** Writes the page to a file that only its owner can read. */
import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errorText, WeftError } from '../../base/errors.js';

const suffixBytes = 6;

/**
 * Replaces a file that is there, so that nobody reads the page through its former mode.
 * Error: WEFT_DASHBOARD, if the file cannot be written; a file that is there stays as it was.
 */
export function writePage(file: string, text: string): void {
  const beside = join(dirname(file), `.${basename(file)}.${randomBytes(suffixBytes).toString('hex')}`);
  try {
    writeFileSync(beside, text, { mode: 0o600, flag: 'wx' });
    renameSync(beside, file);
  } catch (error) {
    rmSync(beside, { force: true });
    throw new WeftError(
      'WEFT_DASHBOARD',
      `cannot write ${file}: ${errorText(error)}: name a file in a directory that exists and that you may write`,
      { cause: error },
    );
  }
}
