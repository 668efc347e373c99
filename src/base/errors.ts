/** Where a failure arose, seen from the program that reports it. */
export type ErrorSource = 'downstream' | 'upstream' | 'internal';

interface WeftErrorOptions {
  readonly source?: ErrorSource;
  /** True where doing the same again later can succeed. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/**
 * The one error class of Weft. `code` is stable (`WEFT_TUNNEL_IDENTITY`), `message` says what to do.
 * Codes are listed in docs/errors.md.
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

/** The message of anything thrown, with its code where it has one. */
export function errorText(error: unknown): string {
  if (error instanceof WeftError) return `${error.code}: ${error.message}`;
  if (error instanceof Error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === undefined || error.message.includes(code) ? error.message : `${code}: ${error.message}`;
  }
  return String(error);
}

/** What a decoder of bytes from outside returns: a value or the errors, never both, never a throw. */
export type Decoded<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly errors: readonly string[] };
