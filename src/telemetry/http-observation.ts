/**
 * A request and its response as an agent saw them pass, where no waypoint is: counted beside the connection that carried them. Nothing else
 * of the bytes is kept.
 */
export interface HttpObservation {
  /** One of the registered methods, or `other`. */
  readonly method: string;
  /** As of pathTemplate (path-template.ts): bounded, without the query. */
  readonly pathTemplate: string;
  /** 0: the connection ended before the response's status line. */
  readonly status: number;
  /** From the request's first byte to the response's first byte. */
  readonly durationMs: number;
}
