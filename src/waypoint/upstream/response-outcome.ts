/** How a response counts for its endpoint. Pure. */
import type { Outcome } from '../cluster/outcome.js';
import { statusOfGrpcHead } from '../http/grpc.js';
import { headerOf } from '../http/headers.js';
import type { Downstream, ResponseHead } from '../http/http-stream.js';

interface Request {
  readonly isGrpc: boolean;
  readonly downstream: Downstream;
}

/** A client that sets a short deadline must not make an endpoint that says so (DEADLINE_EXCEEDED) an outlier for others. */
export function outcomeOf({ isGrpc, downstream }: Request, head: ResponseHead): Outcome {
  if (!isGrpc) return head.status;
  const status = statusOfGrpcHead(head);
  const hasDeadline = headerOf(downstream.head.headers, 'grpc-timeout') !== undefined;
  return status === 504 && hasDeadline ? 'abandoned' : status;
}
