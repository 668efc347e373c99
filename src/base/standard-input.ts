/** Standard input of a command that takes files: the path `-`, as in kubectl. */
import { readSync } from 'node:fs';

/** The path that stands for standard input. */
export const standardInput = '-';
/** Its name in messages. */
export const standardInputName = 'stdin';

const stdin = 0;
const chunkBytes = 64 * 1024;
const retryMs = 10;

/**
 * The whole standard input as text. Reading the descriptor by readFileSync fails with EAGAIN on a pipe that another program has made
 * non-blocking and that is empty for a moment.
 */
export function readStandardInput(): string {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.alloc(chunkBytes);
    try {
      const bytes = readSync(stdin, chunk);
      if (bytes === 0) return Buffer.concat(chunks).toString('utf8');
      chunks.push(chunk.subarray(0, bytes));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EOF') return Buffer.concat(chunks).toString('utf8');
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, retryMs);
    }
  }
}
