/** The API of the cluster by which what programs observe, and what `weft explain` needs, is read, behind an APIService: the API server authenticates and authorizes. */

export const observeApi = { group: 'observe.weft.dev', version: 'v1alpha1' } as const;

export const observedResources = ['edges', 'changes', 'explanations'] as const;
export type ObservedResource = (typeof observedResources)[number];

/** Read by a watch alone: what happens from now on. */
export const tapResource = 'taps';

export interface ObservedQuery {
  /** Undefined: all namespaces. */
  readonly namespace?: string | undefined;
  /** Milliseconds since the epoch. */
  readonly sinceMs: number;
}

/** The parameter of a URL that asks for the slots of edges (`EdgeCounts.slots`). */
export const bySlotParameter = 'bySlot';
export const isBySlotOf = (search: URLSearchParams): boolean =>
  ['true', '1'].includes(search.get(bySlotParameter) ?? '');
