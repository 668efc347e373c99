/** Where a connection's failure arose, by the kernel's word. */
import type { ErrorSource } from './errors.js';

/** connect() failed for want of something of this machine: the peer has no part in it. */
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

/** `internal` where descriptors, ports, memory or a permission of this machine were missing; else `upstream`. */
export const connectErrorSource = (error: unknown): ErrorSource =>
  local.has((error as NodeJS.ErrnoException | undefined)?.code ?? '') ? 'internal' : 'upstream';
