/** What policies read of a request. */
import type { HttpAttributes } from '../../policy/authorize.js';
import type { RequestHead } from '../http/http-stream.js';
import { joinedHeader } from '../http/headers.js';
import { pathOf, readingsOf } from '../../policy/path.js';

/** A path's readings, made when a policy first asks: clients choose the path, and 8 KiB of escapes take 20 ms. */
export function readingsOnDemand(path: string): () => readonly string[] {
  let readings: readonly string[] | undefined;
  return () => (readings ??= readingsOf(pathOf(path)));
}

/** Of a request as it goes on. */
export function attributesOf(head: RequestHead): HttpAttributes {
  const readings = readingsOnDemand(head.path);
  return {
    method: head.method,
    host: head.authority.replace(/:\d*$/, ''),
    get paths() {
      return readings();
    },
    header: (name) => (name === 'host' ? head.authority : joinedHeader(head.headers, name)),
  };
}
