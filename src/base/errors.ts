/** The source of a failure, relative to the program that reports it. */
export type ErrorSource = 'downstream' | 'upstream' | 'internal';

interface WeftErrorOptions {
  readonly source?: ErrorSource;
  /** True if the same operation can succeed later. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/**
 * Weft's error class. `code` is stable (for example `WEFT_TUNNEL_IDENTITY`) and documented in docs/errors.md; `message` states what
 * failed and what to do.
 */
export class WeftError extends Error {
  readonly code: string;
  readonly source: ErrorSource;
  readonly retryable: boolean;

  constructor(code: string, message: string, options: WeftErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'WeftError';
    this.code = code;
    this.source = options.source ?? 'internal';
    this.retryable = options.retryable ?? false;
  }
}

/** The message of any thrown value, with its code if it has one. */
export function errorText(error: unknown): string {
  if (error instanceof WeftError) return `${error.code}: ${error.message}`;
  if (error instanceof Error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === undefined || error.message.includes(code) ? error.message : `${code}: ${error.message}`;
  }
  return String(error);
}

/** Result of decoding untrusted input: a value or errors, never both. Decoders with this result do not throw. */
export type Decoded<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly errors: readonly string[] };
