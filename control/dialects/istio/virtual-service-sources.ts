/** Translates the conditions on a client (`sourceNamespace`, `sourceLabels`) to the identities that are proven. Pure. */
import type { ClientMatch } from '../../../src/discovery/gen/weft.js';
import type { Labels } from '../../../src/model/labels.js';

export interface SourceLookup {
  /** Service accounts with pods that have the labels: those of which all pods have them, and the others. */
  readonly accountsWith: (
    labels: Labels,
    namespace: string | undefined,
  ) => { readonly all: readonly ClientMatch[]; readonly some: readonly ClientMatch[] };
}

export interface Sources {
  /** Clients that meet the conditions; undefined: every client does. */
  readonly certain: readonly ClientMatch[] | undefined;
  /** Clients of which it is not known. */
  readonly unproven: readonly ClientMatch[];
}

/**
 * A waypoint knows of its client what the certificate proves: the service account. Labels are those of all pods of the service account; if
 * its pods differ in them, it is not known which one the request is from.
 */
export function clientsOf(
  match: { readonly sourceNamespace?: string; readonly sourceLabels?: Labels },
  lookup: SourceLookup,
): Sources {
  const { sourceNamespace, sourceLabels = {} } = match;
  const namespace = sourceNamespace === '' ? undefined : sourceNamespace;
  if (Object.keys(sourceLabels).length > 0) {
    const { all, some } = lookup.accountsWith(sourceLabels, namespace);
    return { certain: all, unproven: some };
  }
  return { certain: namespace === undefined ? undefined : [{ namespace, serviceAccount: '' }], unproven: [] };
}
