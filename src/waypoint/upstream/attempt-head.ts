/** Fields of a request that differ between its attempts, and those by which an earlier hop says that it repeats the request. Pure. */
import { grpcTimeoutText } from '../http/grpc-timeout.js';
import { headerOf, setHeader, type Headers } from '../http/headers.js';
import type { RequestHead } from '../http/http-stream.js';

const attemptCountField = 'x-envoy-attempt-count';
/** gRPC, "Client retries": attempts ahead of this one. */
const grpcAttemptsField = 'grpc-previous-rpc-attempts';
const grpcTimeoutField = 'grpc-timeout';

interface AttemptFields {
  /** The number of the attempt, from 1. Undefined: the field stays as it is. */
  readonly count: number | undefined;
  /** What is left of the client's grpc-timeout. Undefined: the field stays as it is. */
  readonly grpcLeftMs: number | undefined;
}

/** The head of one attempt. The request's own head, by which the request is authorized, stays as it is. */
export function headOfAttempt(head: RequestHead, { count, grpcLeftMs }: AttemptFields): RequestHead {
  if (count === undefined && grpcLeftMs === undefined) return head;
  const headers = withCount(head.headers, count);
  if (grpcLeftMs !== undefined) setHeader(headers, grpcTimeoutField, grpcTimeoutText(grpcLeftMs));
  const { method, path, authority, scheme } = head;
  return { method, path, authority, scheme, headers };
}

/** A copy of the headers. Most clients do not send the field: it is appended as part of the copy, which then need not grow. */
function withCount(headers: Headers, count: number | undefined): Headers {
  if (count === undefined) return headers.slice();
  if (headerOf(headers, attemptCountField) === undefined)
    return headers.concat(attemptCountField, String(count));
  const copy = headers.slice();
  setHeader(copy, attemptCountField, String(count));
  return copy;
}

/**
 * How often the request was sent ahead of this time, as the client says. The client can write any number: it must be used for reports only.
 */
export function attemptsBefore(headers: Headers): number {
  const attempt = countOf(headerOf(headers, attemptCountField));
  return Math.max(0, attempt - 1, countOf(headerOf(headers, grpcAttemptsField)));
}

const countOf = (value: string | undefined): number =>
  value !== undefined && /^\d{1,3}$/.test(value) ? Number(value) : 0;
