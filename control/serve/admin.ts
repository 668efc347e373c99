/**
 * Serves what an operator asks of a control plane with manifests from files: on a socket in the state directory, which only those may open who may
 * read that directory. On Kubernetes the aggregated API serves it, by the caller's own rights.
 */
import { join, resolve } from 'node:path';
import { errorText } from '../../src/base/errors.js';
import type { ChangeQuery } from '../../src/model/change.js';
import { controlSocketName } from '../../src/model/control-socket.js';
import type { EdgeQuery } from '../../src/model/edge.js';
import { isBySlotOf } from '../../src/model/observe-api.js';
import { tapQueryOf } from '../../src/model/tap.js';
import type { LineStream } from '../../src/telemetry/line-stream.js';
import { RequestRefused, serveRoutes, type HttpServer } from '../../src/telemetry/servers.js';
import type { ChangeSource } from '../changes/replicas.js';
import type { EdgeSource } from '../edges/edge-source.js';
import { endsOf, type ExplainSource } from '../explain/explained.js';
import { tapStream } from '../taps/tap-lines.js';
import { socketReader } from '../taps/tap-reader.js';
import { tooManyTaps, type TapSource } from '../taps/tap-source.js';

/** The greatest length of a socket's path (sockaddr_un). */
const pathBytesMax = 107;

export interface AdminOptions {
  readonly state: string;
  readonly edges: EdgeSource;
  readonly changes: ChangeSource;
  readonly explanations: Pick<ExplainSource, 'query'>;
  readonly taps: TapSource;
  readonly log: { warn(fields: object, text: string): void };
}

const notHere = (why: string): RequestRefused => new RequestRefused(403, 'WEFT_ADMIN', why);

/** Undefined: the socket could not be made, which is logged. */
export async function serveAdmin({
  state,
  edges,
  changes,
  explanations,
  taps,
  log,
}: AdminOptions): Promise<HttpServer | undefined> {
  const route = (what: string, source: { query(query: EdgeQuery | ChangeQuery): Promise<object> }) => ({
    contentType: 'application/json',
    read: async ({ trusted }: { readonly trusted: boolean }, search: URLSearchParams): Promise<string> => {
      if (!trusted) throw notHere(`${what} are read on this machine only`);
      const sinceMs = Number(search.get('sinceMs') ?? 0);
      const namespace = search.get('namespace') ?? undefined;
      const isBySlot = isBySlotOf(search);
      return JSON.stringify(
        await source.query({ namespace, sinceMs: Number.isFinite(sinceMs) ? sinceMs : 0, isBySlot }),
      );
    },
  });
  const explained = {
    contentType: 'application/json',
    read: async ({ trusted }: { readonly trusted: boolean }, search: URLSearchParams): Promise<string> => {
      if (!trusted) throw notHere('explanations are read on this machine only');
      const ends = endsOf(search);
      if (!ends) throw new RequestRefused(400, 'WEFT_ADMIN', 'say source or identity, and destination');
      // Whoever may open the socket may read everything.
      const item = await explanations.query(ends, (all) => Promise.resolve(new Set(all)));
      return JSON.stringify({ explanations: [item], sinceMs: 0, missing: [] });
    },
  };
  const tapRoute = {
    contentType: 'application/x-ndjson',
    read: (): string => {
      throw notHere('taps are read on this socket only');
    },
    stream: (search: URLSearchParams): LineStream => {
      const read = tapQueryOf(search, search.get('namespace') ?? undefined);
      if ('problem' in read) throw new RequestRefused(400, 'WEFT_ADMIN', read.problem);
      const reading = taps.open(read.query, socketReader);
      if (!reading) throw new RequestRefused(429, 'WEFT_ADMIN', tooManyTaps);
      return tapStream(reading);
    },
  };
  const routes = {
    '/edges': route('edges', edges),
    '/changes': route('changes', changes),
    '/explanations': explained,
    '/taps': tapRoute,
  };
  const path = join(resolve(state), controlSocketName);
  const unused = (why: string): undefined =>
    void log.warn(
      { path },
      `weft edges, weft changes and weft tap cannot be used, and weft explain is slow: ${why}`,
    );
  if (Buffer.byteLength(path) > pathBytesMax)
    return unused(`the path of the socket has more than ${pathBytesMax} bytes`);
  // Nodes are served all the same.
  return serveRoutes(path, 0, routes).catch((error: unknown) => unused(errorText(error)));
}
