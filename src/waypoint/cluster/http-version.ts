/** The HTTP version of the request to an endpoint. */
import type { Endpoint } from './endpoint.js';

export type HttpVersion = 'http1' | 'http2';

/** `isHttp2` and `isGrpc`: of the client's request. */
export function versionOf({ protocol, tls }: Endpoint, isHttp2: boolean, isGrpc: boolean): HttpVersion {
  // With TLS the version was agreed on before the request (endpoint-tls.ts).
  if (tls) return protocol === 'http2' || protocol === 'grpc' ? 'http2' : 'http1';
  switch (protocol) {
    case 'http1':
      return isGrpc ? 'http2' : 'http1';
    case 'http2':
    case 'grpc':
      return 'http2';
    default:
      // The protocol is not declared: use the client's version.
      return isHttp2 ? 'http2' : 'http1';
  }
}
