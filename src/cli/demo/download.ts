/**
 * A client of a long download: `download URL BYTES_PER_SECOND`. It reads no faster than the rate, until a line arrives on its stdin. It
 * prints the events of the download, one JSON line per event: `progress` with the bytes so far, and `done` with the hash, or `error`.
 */
import { createHash } from 'node:crypto';
import http from 'node:http';
import { sleep } from '../../base/wait.js';

const progressMs = 100;

const say = (event: object): void => void process.stdout.write(`${JSON.stringify(event)}\n`);
const [, , url = '', rate = '0'] = process.argv;
const beganMs = Date.now();
const hash = createHash('sha256');
let bytes = 0;
let isLimited = true;
process.stdin.once('data', () => (isLimited = false));

/** Waits until the rate allows what has been read. */
async function keepRate(): Promise<void> {
  while (isLimited && bytes > ((Date.now() - beganMs) / 1000) * Number(rate)) await sleep(20);
}

async function read(response: http.IncomingMessage): Promise<void> {
  for await (const chunk of response) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
    await keepRate();
  }
}

const timer = setInterval(() => say({ event: 'progress', bytes }), progressMs);
const end = (event: object): void => {
  clearInterval(timer);
  say({ ...event, bytes });
  // exit() would lose output that is still buffered for a pipe.
  process.stdin.destroy();
};
http
  .get(url, { agent: false }, (response) => {
    read(response).then(
      () => end({ event: 'done', status: response.statusCode, sha256: hash.digest('hex') }),
      (error: NodeJS.ErrnoException) => end({ event: 'error', code: error.code ?? error.message }),
    );
  })
  .on('error', (error: NodeJS.ErrnoException) => end({ event: 'error', code: error.code ?? error.message }));
