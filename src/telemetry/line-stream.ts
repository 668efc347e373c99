/** A response that goes on: lines of text, sent as they come. A reader that is slow holds back the source, not the memory. */
import type { ServerResponse } from 'node:http';

export interface LineStream {
  readonly lines: AsyncIterable<string>;
  /** Ends the lines. Called once the reader is gone, and at the end. */
  close(): void;
}

/** Resolves when the lines have ended, or the reader is gone. Never rejects. */
export async function sendLines(response: ServerResponse, { lines, close }: LineStream): Promise<void> {
  response.once('close', close);
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  // The head alone says that the stream has begun.
  response.flushHeaders();
  try {
    for await (const line of lines) {
      if (response.destroyed) break;
      if (!response.write(line)) await drained(response);
    }
    response.end();
  } catch {
    // The reader sees that the response is not complete.
    response.destroy();
  } finally {
    close();
  }
}

const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
