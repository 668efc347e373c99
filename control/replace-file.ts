/** Replaces files of the state directory atomically: neither a reader nor a power failure leaves a partial file. */
import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes a temporary file and renames it. The file and its directory entry are synced to disk on return, so that successive replacements
 * keep their order after a power failure. Errors: those of the file system.
 */
export function replaceFile(path: string, text: string, mode: number): void {
  const beside = `${path}.new`;
  const fd = openSync(beside, 'w', mode);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(beside, path);
  sync(dirname(path));
}
