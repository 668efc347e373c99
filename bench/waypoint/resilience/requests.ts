/** Single requests of this process, for measurements that count them. */
import { get, type Agent } from 'node:http';
import { performance } from 'node:perf_hooks';

export interface Outcome {
  /** 0: the connection failed. */
  readonly status: number;
  readonly ms: number;
}

export function send(port: number, agent: Agent): Promise<Outcome> {
  const began = performance.now();
  return new Promise((resolve) => {
    const end = (status: number): void => resolve({ status, ms: performance.now() - began });
    const request = get({ host: '127.0.0.1', port, agent, path: '/item', timeout: 10_000 }, (response) => {
      response.resume().once('end', () => end(response.statusCode ?? 0));
      response.once('error', () => end(0));
    });
    request.once('timeout', () => request.destroy(new Error('timeout')));
    request.once('error', () => end(0));
  });
}
