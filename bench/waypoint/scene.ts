/** What both proxies are to do, so that neither's configuration can say something else. */
import { randomBytes } from 'node:crypto';
import { createServer, type AddressInfo } from 'node:net';
import { Agent, get } from 'node:http';
import { WeftError } from '../../src/base/errors.js';

export interface Scene {
  /** Ports of 127.0.0.1: where the proxy listens, and the two backends. */
  readonly listen: number;
  readonly a: number;
  readonly b: number;
  /** One for all requests, the others for a path each, which all lead to the same two backends. */
  readonly routes: number;
  /** Of the backends; the clients' too. */
  readonly protocol: Protocol;
}

export type Protocol = 'http1' | 'http2';

/** Requests with this header go to backend b. */
export const canary = { name: 'x-canary', value: 'yes' } as const;
/** All others in these shares. */
export const shares = { a: 90, b: 10 } as const;
export const bodyBytes = 1024;
/** The path that a further route takes, with all beneath it. */
export const routePath = (at: number): string => `/p${at}`;

/** Ports of 127.0.0.1 that nobody listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer().on('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  return Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) => {
          const { port } = server.address() as AddressInfo;
          server.close(() => resolve(port));
        }),
    ),
  );
}

const proofs = 1000;
/** Far beyond what chance does with that many requests (some 1 %). */
const shareOff = 0.05;

/** Sends a request with this header and returns the name of the backend that answered. Rejects where the response is not a backend's. */
export type Ask = (path: string, headers: Readonly<Record<string, string>>) => Promise<string>;

/** Refuses to measure a proxy that does another job. `paths`: of other routes, which go before the header's. */
export async function proveShares(name: string, ask: Ask, paths: readonly string[]): Promise<void> {
  const tag = randomBytes(4).toString('hex');
  const of = (value: string, count: number, asked: readonly string[]): Promise<string[]> =>
    Promise.all(
      Array.from({ length: count }, (_, at) =>
        ask(`${asked[at % asked.length]}?${tag}${at}`, { [canary.name]: value }),
      ),
    );
  const marked = await of(canary.value, 20, ['/item']);
  const others = await of('no', proofs, ['/item', ...paths]);
  const share = others.filter((backend) => backend === 'b').length / proofs;
  const wrong = marked.filter((backend) => backend !== 'b').length;
  const wanted = shares.b / (shares.a + shares.b);
  if (wrong > 0 || !(Math.abs(share - wanted) < shareOff)) {
    throw new WeftError(
      'WEFT_BENCH_NOT_CARRIED',
      `${name} sent ${wrong} of ${marked.length} marked requests elsewhere than to b, and ${share * 100} % of the others to b`,
    );
  }
}

/** HTTP/1.1: {@link proveShares}. */
export async function proveRouted(name: string, port: number, paths: readonly string[] = []): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const ask: Ask = (path, headers) =>
    new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port, path, agent, headers, timeout: 5_000 }, (answer) => {
        let bytes = 0;
        answer.on('data', (chunk: Buffer) => (bytes += chunk.length));
        answer.on('end', () =>
          answer.statusCode === 200 && bytes === bodyBytes
            ? resolve(String(answer.headers['x-backend']))
            : reject(
                new WeftError(
                  'WEFT_BENCH_NOT_CARRIED',
                  `${name} answers ${answer.statusCode} with ${bytes} bytes`,
                ),
              ),
        );
      }).on('error', reject);
    });
  try {
    await proveShares(name, ask, paths);
  } finally {
    agent.destroy();
  }
}
