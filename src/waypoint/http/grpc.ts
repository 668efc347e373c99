/** gRPC over HTTP: its content type, and the HTTP statuses of its statuses. */

/**
 * True for `application/grpc`: alone, with a message format (`+proto`), or with parameters. gRPC-Web (`application/grpc-web`, `-web-text`) is
 * ordinary HTTP to a proxy: its status is part of the body, so its clients do not read trailers.
 * Source: gRPC over HTTP/2, "Requests"; gRPC-Web, "Protocol differences vs gRPC over HTTP/2".
 */
export function isGrpcType(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/grpc(?:$|[+; \t])/i.test(contentType);
}

/**
 * The HTTP status that says the same as a gRPC status, for clients that do not speak gRPC. Source: google/rpc/code.proto, as in Envoy.
 */
export function httpStatusOf(grpcStatus: number): number {
  return httpStatuses[grpcStatus] ?? 500;
}
const httpStatuses = [
  ...[200, 499, 500, 400, 504, 404, 409, 403, 429],
  ...[400, 409, 400, 501, 500, 503, 500, 401],
];
