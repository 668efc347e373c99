/** Classifies the source of a failed connect() by its errno: this machine or the peer. */
import type { ErrorSource } from './errors.js';

/** Errors that connect() and socket() give for a resource or permission of this machine (connect(2), socket(2)). */
const local: ReadonlySet<string> = new Set([
  'EACCES',
  'EADDRINUSE',
  'EADDRNOTAVAIL',
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENOMEM',
  'EPERM',
]);

/** `internal` if this machine lacked descriptors, ports, memory or a permission; otherwise `upstream`. */
export const connectErrorSource = (error: unknown): ErrorSource =>
  local.has((error as NodeJS.ErrnoException | undefined)?.code ?? '') ? 'internal' : 'upstream';
