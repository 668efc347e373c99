/** Detects gRPC by the content type, reads its statuses, and frames its messages. */
import { headerOf } from './headers.js';
import type { ResponseHead } from './http-stream.js';

/**
 * True for `application/grpc`: alone, with a message format (`+proto`), or with parameters. gRPC-Web (`application/grpc-web`, `-web-text`) is
 * ordinary HTTP to a proxy: its status is part of the body, so its clients do not read trailers.
 * Source: gRPC over HTTP/2, "Requests"; gRPC-Web, "Protocol differences vs gRPC over HTTP/2".
 */
export function isGrpcType(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/grpc(?:$|[+; \t])/i.test(contentType);
}

/** HTTP statuses that stand for the gRPC statuses 0 to 16, as Envoy counts them (source/common/grpc/status.cc, grpcToHttpStatus). */
const httpStatuses: readonly number[] = [
  200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
];

/** The HTTP status that says the same as a gRPC status. */
export const httpStatusOfGrpc = (grpcStatus: number): number => httpStatuses[grpcStatus] ?? 500;

/**
 * The status by which a gRPC response counts for its endpoint: that of its gRPC status, if the head has one. A status in trailers does not
 * count, as in Envoy.
 */
export function statusOfGrpcHead({ status, headers }: ResponseHead): number {
  const grpcStatus = headerOf(headers, 'grpc-status');
  if (grpcStatus === undefined) return status;
  return /^[0-9]{1,2}$/.test(grpcStatus) ? httpStatusOfGrpc(Number(grpcStatus)) : 500;
}

/** Bytes of a message's prefix: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const prefixBytes = 5;

/** A body of one message that is not compressed. */
export function grpcBody(message: Uint8Array): Buffer {
  const body = Buffer.alloc(prefixBytes + message.length);
  body.writeUInt32BE(message.length, 1);
  body.set(message, prefixBytes);
  return body;
}

/** The message of a body. Undefined: the body is not one message that is not compressed. */
export function grpcMessageOf(body: Buffer): Buffer | undefined {
  if (body.length < prefixBytes || body[0] !== 0 || body.readUInt32BE(1) !== body.length - prefixBytes)
    return undefined;
  return body.subarray(prefixBytes);
}
