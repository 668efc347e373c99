/** Writes a compressed archive. */
import { open, rm, type FileHandle } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';
import { errorText, WeftError } from '../../base/errors.js';

/**
 * Writes the files into a new .tar.gz that only this user may read.
 * @param folder of all files in the archive
 * Error: WEFT_BUG_REPORT, if the file exists or cannot be written.
 */
export async function writeArchive(
  path: string,
  folder: string,
  files: readonly { readonly path: string; readonly text: string }[],
  now: Date,
): Promise<void> {
  let file: FileHandle | undefined;
  try {
    // The file is this function's own from here on, so that it may be removed after an error.
    file = await open(path, 'wx', 0o600);
    const archive = pack();
    const written = pipeline(archive, createGzip(), file.createWriteStream());
    for (const { path: name, text } of files)
      archive
        .entry({ name: `${folder}/${name}`, mode: 0o600, mtime: now }, text)
        // `written` rejects with the error of the file.
        .on('error', () => undefined);
    archive.finalize();
    await written;
  } catch (error) {
    if (file) await rm(path, { force: true }).catch(() => undefined);
    throw new WeftError(
      'WEFT_BUG_REPORT',
      `the report cannot be written: ${errorText(error)}: name another file with -o`,
      { cause: error },
    );
  }
}
