/** The API of the cluster by which edges, changes and what `weft explain` needs are read, behind an APIService: the API server authenticates and authorizes its users. */

export const observeApi = { group: 'observe.weft.dev', version: 'v1alpha1' } as const;

export const observedResources = ['edges', 'changes', 'explanations'] as const;
export type ObservedResource = (typeof observedResources)[number];

export interface ObservedQuery {
  /** Undefined: all namespaces. */
  readonly namespace?: string | undefined;
  /** Milliseconds since the epoch. */
  readonly sinceMs: number;
}
