/** The trace of a request that is sampled: by it, exemplars and log records are found from the trace, and the trace from them. */
export interface TraceIds {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits. */
  readonly spanId: string;
}
