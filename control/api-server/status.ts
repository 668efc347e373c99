/** Errors in the form of the Kubernetes API. */

export type StatusReason =
  | 'BadRequest'
  | 'Unauthorized'
  | 'Forbidden'
  | 'NotFound'
  | 'MethodNotAllowed'
  | 'RequestEntityTooLarge'
  | 'TooManyRequests'
  | 'InternalError'
  | 'ServiceUnavailable'
  | 'Timeout';

const codes: Readonly<Record<StatusReason, number>> = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  RequestEntityTooLarge: 413,
  TooManyRequests: 429,
  InternalError: 500,
  ServiceUnavailable: 503,
  Timeout: 504,
};

/** A response of the aggregated API that is no success. */
export class StatusError extends Error {
  readonly code: number;

  constructor(
    readonly reason: StatusReason,
    message: string,
    /** Seconds after which the client may come again. */
    readonly retryAfterS?: number,
  ) {
    super(message);
    this.code = codes[reason];
  }

  /** The body: an object of kind `Status`. */
  get body(): object {
    const { reason, message, code, retryAfterS } = this;
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      ...(retryAfterS === undefined ? {} : { details: { retryAfterSeconds: retryAfterS } }),
      code,
    };
  }
}
