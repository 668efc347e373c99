/** Labels and annotations of Kubernetes objects. Pure. */
export type Labels = Readonly<Record<string, string>>;
export type Annotations = Readonly<Record<string, string>>;

export const labelsOf = (object: { readonly metadata: { readonly labels?: Labels } } | undefined): Labels =>
  object?.metadata.labels ?? {};

/** The namespace of an object. Without one it is `default`; cluster-scoped objects share that name in indexes. */
export const namespaceOf = (object: { readonly metadata: { readonly namespace?: string } }): string =>
  object.metadata.namespace ?? 'default';

/** Whether the labels match the selector. An empty selector selects nothing. */
export function selects(selector: Labels | undefined, labels: Labels): boolean {
  const wanted = Object.entries(selector ?? {});
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
}
