/** Which responses count as failures of the server. Pure. */

/** Those of a server that failed: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. */
const failedGrpc: ReadonlySet<string | undefined> = new Set(['2', '4', '12', '13', '14', '15']);
/** The response was not complete. */
const incomplete: ReadonlySet<string | undefined> = new Set(['UC', 'UT', 'UPE', 'DC', 'DT']);

export interface ResponseSummary {
  readonly status: number;
  readonly grpcStatus?: string | undefined;
  /** Flag of the access log. */
  readonly flag?: string | undefined;
}

/** Whether a request counts as a failure of the server. Pure. */
export const isFailedResponse = ({ status, grpcStatus, flag }: ResponseSummary): boolean =>
  status === 0 || status >= 500 || failedGrpc.has(grpcStatus) || incomplete.has(flag);
