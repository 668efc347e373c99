/** Processes of their own for the ends of a measurement: `fork`ed from the file that measures, with messages of Node.js. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';

export const concurrent = 16;
export const report = (message: object): void => void process.send?.(message);

/** Runs `one` so many times, some of them at once. */
export async function each(count: number, one: () => Promise<unknown>): Promise<void> {
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) await one();
  };
  await Promise.all(Array.from({ length: concurrent }, worker));
}

/** Sends so many requests as each message says, on keep-alive connections. */
export function runClient(headers: Readonly<Record<string, string>>): void {
  const agent = new http.Agent({ keepAlive: true, maxSockets: concurrent });
  const one = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      http
        .get({ host: '127.0.0.1', port, path: '/orders/17?page=2', headers, agent }, (response) => {
          if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`));
          response.resume();
          response.on('end', () => resolve());
        })
        .on('error', reject);
    });
  process.on('message', ({ port, count }: { port: number; count: number }) => {
    void each(count, () => one(port)).then(
      () => report({ done: true }),
      (error: unknown) => report({ error: String(error) }),
    );
  });
  report({});
}

type Message = Readonly<Record<string, unknown>>;

/** The next message of a process, after `message` if there is one. */
export async function exchange(child: ChildProcess, message?: object): Promise<Message> {
  const answer = once(child, 'message');
  if (message) child.send(message);
  const [found] = (await answer) as [Message];
  if (found['error'] !== undefined) throw new Error(String(found['error']));
  return found;
}
