/** Detects gRPC by the content type. */

/**
 * True for `application/grpc`: alone, with a message format (`+proto`), or with parameters. gRPC-Web (`application/grpc-web`, `-web-text`) is
 * ordinary HTTP to a proxy: its status is part of the body, so its clients do not read trailers.
 * Source: gRPC over HTTP/2, "Requests"; gRPC-Web, "Protocol differences vs gRPC over HTTP/2".
 */
export function isGrpcType(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/grpc(?:$|[+; \t])/i.test(contentType);
}
