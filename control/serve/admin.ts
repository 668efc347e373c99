/**
 * Serves what an operator asks of the control plane: on Kubernetes at an address of the pod's own localhost, which API server port-forwards reach;
 * else on a socket in the state directory, which only those may open who may read that directory.
 */
import { join, resolve } from 'node:path';
import { parseListenAddress } from '../../src/base/listen-address.js';
import { errorText, WeftError } from '../../src/base/errors.js';
import type { ChangesAnswer } from '../../src/model/change.js';
import { controlSocketName } from '../../src/model/control-socket.js';
import { serveRoutes, type HttpServer } from '../../src/telemetry/servers.js';
import type { EdgeSource } from '../edges/edge-source.js';

/** The greatest length of a socket's path (sockaddr_un). */
const pathBytesMax = 107;

export interface AdminOptions {
  /** ADDR:PORT; absent: the socket. */
  readonly listen: string | undefined;
  readonly state: string;
  readonly edges: EdgeSource;
  readonly changes: (sinceMs: number, namespace: string | undefined) => ChangesAnswer;
  readonly log: { warn(fields: object, text: string): void };
}

/** Undefined: the socket could not be made, which is logged. Error: WEFT_LISTEN, of `listen`. */
export async function serveAdmin({
  listen,
  state,
  edges,
  changes,
  log,
}: AdminOptions): Promise<HttpServer | undefined> {
  const route = (
    what: string,
    query: (sinceMs: number, namespace: string | undefined) => object | Promise<object>,
  ) => ({
    contentType: 'application/json',
    read: async ({ trusted }: { readonly trusted: boolean }, search: URLSearchParams): Promise<string> => {
      if (!trusted) throw new WeftError('WEFT_ADMIN', `${what} are read on this machine only`);
      const sinceMs = Number(search.get('sinceMs') ?? 0);
      const namespace = search.get('namespace') ?? undefined;
      return JSON.stringify(await query(Number.isFinite(sinceMs) ? sinceMs : 0, namespace));
    },
  });
  const routes = {
    '/edges': route('edges', (sinceMs, namespace) => edges.query({ namespace, sinceMs })),
    '/changes': route('changes', changes),
  };
  if (listen !== undefined) {
    const at = parseListenAddress(listen);
    if (!at) throw new WeftError('WEFT_LISTEN', `${listen} is not <addr>:<port>`);
    return serveRoutes(at.host, at.port, routes);
  }
  const path = join(resolve(state), controlSocketName);
  const unused = (why: string): undefined =>
    void log.warn({ path }, `weft edges and weft changes cannot be used: ${why}`);
  if (Buffer.byteLength(path) > pathBytesMax)
    return unused(`the path of the socket has more than ${pathBytesMax} bytes`);
  // Nodes are served all the same.
  return serveRoutes(path, 0, routes).catch((error: unknown) => unused(errorText(error)));
}
