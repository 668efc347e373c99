/** Whose share of the taps a reader uses. Pure. */

/** `user` and `group` as FairLimit has them: a member and its group. */
export interface TapReader {
  readonly user: string;
  readonly group: string;
}

const accountName = /^system:serviceaccount:([^:]+):[^:]+$/;

/**
 * A reader of the aggregated API. Whoever has a namespace makes as many service accounts as they like, so those of one namespace are one group.
 * Other users are those of the cluster's identity provider: all that watch one namespace are one group, beside its service accounts.
 * @param namespace that the tap is about; undefined: all
 */
export function tapReaderOf(user: string, namespace: string | undefined): TapReader {
  const [, own] = accountName.exec(user) ?? [];
  if (own !== undefined) return { user, group: `accounts of ${own}` };
  return { user, group: namespace === undefined ? 'users of all namespaces' : `users of ${namespace}` };
}

/** Whoever may open the control plane's socket. */
export const socketReader: TapReader = { user: 'socket', group: 'socket' };
