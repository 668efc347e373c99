/** Files of the state directory, replaced so that neither a reader nor a power failure finds half of one. */
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

/** Written beside and renamed; on the disk when it returns, before whatever is replaced next. Errors: those of the file system. */
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
