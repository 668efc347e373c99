/** What policies and the choice of a protocol read of a request. */
import type { HttpAttributes } from '../../policy/authorize.js';
import { joinedHeader, type RequestHead } from '../http/http-stream.js';
import { pathOf, readingsOf } from '../http/target.js';
import type { Endpoint } from '../state/waypoint-state.js';
import type { HttpVersion } from '../upstream/connection-pool.js';

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

/** `isGrpc` and `isHttp2`: the request. */
export function versionOf({ protocol }: Endpoint, isHttp2: boolean, isGrpc: boolean): HttpVersion {
  switch (protocol) {
    case 'http1':
      return isGrpc ? 'http2' : 'http1';
    case 'http2':
    case 'grpc':
      return 'http2';
    default:
      // Nobody said: as the client speaks.
      return isHttp2 ? 'http2' : 'http1';
  }
}
