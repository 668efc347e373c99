/** The API of the cluster by which edges and changes are read, behind an APIService: the API server authenticates and authorizes its users. */

export const observeApi = { group: 'observe.weft.dev', version: 'v1alpha1' } as const;

export const observedResources = ['edges', 'changes'] as const;
export type ObservedResource = (typeof observedResources)[number];

/** Read by a watch alone: what happens from now on. */
export const tapResource = 'taps';

export interface ObservedQuery {
  /** Undefined: all namespaces. */
  readonly namespace?: string | undefined;
  /** Milliseconds since the epoch. */
  readonly sinceMs: number;
}
