/** An endpoint of this process that can be told to fail. For measurements of few requests: load has bench/load/responder.c. */
import { createServer, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { performance } from 'node:perf_hooks';

export type Behavior = 'respond' | 'fail' | 'hang';

export class SwitchedEndpoint {
  behavior: Behavior = 'respond';
  /** When each request came, by the monotonic clock. */
  readonly times: number[] = [];
  #waiting: ServerResponse[] = [];
  readonly #server = createServer((request, response) => {
    request.resume();
    this.times.push(performance.now());
    if (this.behavior === 'hang') this.#waiting.push(response);
    else this.#respond(response, this.behavior === 'fail' ? 500 : 200);
  });

  async listen(): Promise<number> {
    this.#server.keepAliveTimeout = 120_000;
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  /** Responds to the requests that hang. */
  release(): void {
    this.behavior = 'respond';
    for (const response of this.#waiting.splice(0)) this.#respond(response, 200);
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #respond(response: ServerResponse, status: number): void {
    response.writeHead(status, { 'content-length': 2, 'x-backend': 'switched' });
    response.end('ok');
  }
}
