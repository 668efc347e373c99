/** Calls of the API server over connections that stay open, for filling it quickly. */
import { Agent, request } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';

export type Call = (method: string, path: string, body?: object, type?: string) => Promise<unknown>;

/** Errors: with the server's own message. */
export async function connect(config: KubeConfig, atOnce: number): Promise<{ call: Call; close(): void }> {
  const server = config.getCurrentCluster()?.server;
  if (server === undefined) throw new Error('KUBECONFIG names no cluster');
  const options: Parameters<KubeConfig['applyToHTTPSOptions']>[0] = {};
  await config.applyToHTTPSOptions(options);
  const { cert, key, ca, headers } = options as {
    cert?: string;
    key?: string;
    ca?: string;
    headers?: object;
  };
  const made = (options.agent as Agent | undefined)?.options;
  const agent = new Agent({ ...made, cert, key, ca, keepAlive: true, maxSockets: atOnce });
  const call: Call = (method, path, body, type = 'application/json') =>
    new Promise((resolve, reject) => {
      const payload = body && JSON.stringify(body);
      const length = payload === undefined ? {} : { 'content-length': Buffer.byteLength(payload) };
      const sent = request(
        new URL(path, server),
        { method, agent, headers: { ...headers, 'content-type': type, ...length } },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (part: string) => (text += part));
          response.on('error', reject);
          response.on('end', () => {
            if ((response.statusCode ?? 500) < 300) resolve(JSON.parse(text));
            else reject(new Error(`${method} ${path}: ${response.statusCode} ${text.slice(0, 300)}`));
          });
        },
      );
      sent.on('error', reject);
      sent.end(payload);
    });
  return { call, close: () => agent.destroy() };
}

/** Does `work` for 0 to count - 1, `atOnce` at a time. */
export async function each(
  count: number,
  atOnce: number,
  work: (i: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const run = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, run));
}
