/** Which version of HTTP a request is sent in. */
import type { Endpoint } from './endpoint.js';

export type HttpVersion = 'http1' | 'http2';

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
