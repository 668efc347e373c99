/**
 * Observes a pod's network namespace. An observation has three outcomes: present, absent, unknown. Only a namespace that is present
 * elsewhere, or absent, changes the state of a pod; an error means unknown.
 */
import { errorText } from '../../src/base/errors.js';
import { NativeError, netnsCookie } from '../../native/index.js';

/** A pod's network namespace. Plain data. */
export interface PodNetns {
  readonly cookie: bigint;
  /** Path of the network namespace. */
  readonly path: string;
}

export type Observation =
  | { readonly kind: 'present'; readonly cookie: bigint }
  | { readonly kind: 'absent' | 'unknown'; readonly why: string };

const errnos = { notFound: 2, notANamespace: 25 };

/** Observes the network namespace at a path. Never blocks, whatever file is there. */
export function observe(path: string, cookieOf: (path: string) => bigint = netnsCookie): Observation {
  try {
    return { kind: 'present', cookie: cookieOf(path) };
  } catch (error) {
    const errno = error instanceof NativeError ? error.errno : 0;
    if (errno === errnos.notFound) return { kind: 'absent', why: `network namespace ${path} does not exist` };
    if (errno === errnos.notANamespace) return { kind: 'absent', why: `${path} is not a network namespace` };
    return { kind: 'unknown', why: `cannot inspect network namespace ${path}: ${errorText(error)}` };
  }
}
