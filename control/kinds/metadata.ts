/** Picks metadata and conditions of objects of the API server. Pure. */
import {
  acceptedType,
  auditType,
  enforcedType,
  resolvedType,
  type Condition,
  type Meta,
} from '../objects/objects.js';

export interface RawMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly generation?: number;
  readonly resourceVersion?: string;
  readonly creationTimestamp?: unknown;
  readonly deletionTimestamp?: unknown;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly {
    readonly kind: string;
    readonly name: string;
    readonly controller?: boolean;
  }[];
}
/** An object as the API server sends it. */
export type Raw<T> = Omit<T, 'metadata' | 'kind'> & { readonly metadata: RawMeta };

/** On Kubernetes the agent finds a pod's network namespace. The pod's author must not be able to choose it. */
const ignoredAnnotations = new Set(['weft.dev/netns']);

export function pickMeta(raw: RawMeta): Meta {
  const annotations = Object.entries(raw.annotations ?? {}).filter(
    ([key]) => key.startsWith('weft.dev/') && !ignoredAnnotations.has(key),
  );
  return {
    name: raw.name,
    ...(raw.namespace === undefined ? {} : { namespace: raw.namespace }),
    ...(raw.uid === undefined ? {} : { uid: raw.uid }),
    // Among claims of the same rank the older object wins (src/model/ownership.ts).
    ...(raw.creationTimestamp === undefined ? {} : { creationTimestamp: String(raw.creationTimestamp) }),
    ...(raw.deletionTimestamp === undefined ? {} : { deletionTimestamp: String(raw.deletionTimestamp) }),
    ...(raw.labels === undefined ? {} : { labels: raw.labels }),
    ...(annotations.length === 0 ? {} : { annotations: Object.fromEntries(annotations) }),
  };
}

export const withVersion = (raw: RawMeta): Meta => ({
  ...pickMeta(raw),
  ...(raw.resourceVersion === undefined ? {} : { resourceVersion: raw.resourceVersion }),
});

export const withGeneration = (raw: RawMeta): Meta => ({
  ...pickMeta(raw),
  ...(raw.generation === undefined ? {} : { generation: raw.generation }),
});

const ownTypes: ReadonlySet<string> = new Set([acceptedType, enforcedType, auditType, resolvedType]);

/** Picks the fields of Weft's own kinds: metadata with the generation, the conditions that the control plane writes, and the whole spec. */
export function pickOwn<Spec>({
  metadata,
  status,
  spec,
}: {
  readonly metadata: RawMeta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: Spec;
}): { metadata: Meta; status?: { readonly conditions: readonly Condition[] }; spec: Spec } {
  const conditions = (status?.conditions ?? []).filter(({ type }) => ownTypes.has(type));
  return {
    metadata: withGeneration(metadata),
    ...(conditions.length === 0 ? {} : { status: { conditions } }),
    spec,
  };
}

/** As `pickOwn`, of a policy that has a status at each of its targets. */
export function pickTargeting<Spec, Ancestor>(raw: {
  readonly metadata: RawMeta;
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly ancestors?: readonly Ancestor[];
  };
  readonly spec: Spec;
}): {
  metadata: Meta;
  status?: { readonly conditions?: readonly Condition[]; readonly ancestors?: readonly Ancestor[] };
  spec: Spec;
} {
  const { status, ...own } = pickOwn(raw);
  const ancestors = raw.status?.ancestors;
  return {
    ...own,
    ...(status || ancestors ? { status: { ...status, ...(ancestors ? { ancestors } : {}) } } : {}),
  };
}

/** Picks the fields of a policy of the Gateway API, whose status other controllers write as well. */
export function pickBackendPolicy<Spec, Ancestor>({
  metadata,
  spec,
  status,
}: {
  readonly metadata: RawMeta;
  readonly spec: Spec;
  readonly status?: { readonly ancestors?: readonly Ancestor[] };
}): { metadata: Meta; spec: Spec; status?: { readonly ancestors: readonly Ancestor[] } } {
  return {
    metadata: { ...withGeneration(metadata), ...withVersion(metadata) },
    spec,
    ...(status?.ancestors ? { status: { ancestors: status.ancestors } } : {}),
  };
}
