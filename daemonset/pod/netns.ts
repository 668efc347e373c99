/**
 * What is seen of a pod's network namespace. An observation has three outcomes: present, absent, unknown. Only a namespace that
 * is known to be somewhere else, or nowhere, changes anything; an error is no knowledge.
 */
import { errorText } from '../../src/base/errors.js';
import { NativeError, netnsCookie } from '../../native/index.js';

export type Observation =
  | { readonly kind: 'present'; readonly cookie: bigint }
  | { readonly kind: 'absent' | 'unknown'; readonly why: string };

const errnos = { notFound: 2, notANamespace: 25 };

/** Looks at the network namespace at a path. Blocks on nothing, whatever stands there. */
export function observe(path: string, cookieOf: (path: string) => bigint = netnsCookie): Observation {
  try {
    return { kind: 'present', cookie: cookieOf(path) };
  } catch (error) {
    const errno = error instanceof NativeError ? error.errno : 0;
    if (errno === errnos.notFound) return { kind: 'absent', why: `network namespace ${path} is not there` };
    if (errno === errnos.notANamespace) return { kind: 'absent', why: `${path} is no network namespace` };
    return { kind: 'unknown', why: `network namespace ${path} could not be looked at: ${errorText(error)}` };
  }
}
