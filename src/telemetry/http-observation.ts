/**
 * A request and its response as an agent saw them pass, where no waypoint is: counted beside the connection that carried them. Nothing else
 * of the bytes is kept.
 */
export interface HttpObservation {
  /** One of the registered methods, or `other`. */
  readonly method: string;
  /** As of pathTemplate (path-template.ts): bounded, without the query. */
  readonly pathTemplate: string;
  /** 0: the connection, or the stream of HTTP/2, ended before the response's status. */
  readonly status: number;
  /** Of a gRPC call. */
  readonly grpc?: GrpcOutcome | undefined;
  /** From the request's first byte to the response's first byte. */
  readonly durationMs: number;
}

/** How a gRPC call ended. */
export interface GrpcOutcome {
  /** As the label of a waypoint's metrics: `0` to `16`, `invalid`, or none. */
  readonly status: string;
  /** The call ended before its response did. */
  readonly isCut: boolean;
}
