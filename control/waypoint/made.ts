/** Objects that Weft has created for Gateways, as the API server returns them. Pure. */
import { createHash } from 'node:crypto';
import { gatewayGroup, type Condition } from '../objects/objects.js';
import type { RenderedKind } from './render.js';

/** The fields of an existing object that the reconciler reads. */
export interface Made {
  readonly kind: RenderedKind;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** UID of the owning Gateway. */
  readonly owner: string | undefined;
  /** Hash of all fields that may be applied. It changes when another client changes the object. */
  readonly fingerprint: string;
  /** Deployments only. */
  readonly replicas?: { readonly wanted: number; readonly available: number };
  readonly conditions?: readonly Condition[];
}

interface RawMade {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly {
      readonly apiVersion: string;
      readonly kind: string;
      readonly uid: string;
    }[];
  };
  readonly spec?: { readonly replicas?: number };
  readonly status?: { readonly availableReplicas?: number; readonly conditions?: readonly Condition[] };
}

/** Annotations in which Kubernetes' own controllers keep their state. */
const controllersAnnotation = /^(deployment\.kubernetes\.io|autoscaling\.alpha\.kubernetes\.io)\//;
/** Top-level fields left out of the fingerprint: others write them, or they are the same for all objects of a kind. */
const notApplied: ReadonlySet<string> = new Set(['apiVersion', 'kind', 'metadata', 'status']);

export function readMade(kind: RenderedKind, object: unknown): Made {
  const raw = object as RawMade;
  const {
    name,
    namespace = 'default',
    uid = '',
    labels,
    annotations = {},
    ownerReferences = [],
  } = raw.metadata;
  const applied = [
    uid,
    labels,
    Object.entries(annotations).filter(([key]) => !controllersAnnotation.test(key)),
    ownerReferences,
    Object.entries(raw).filter(([key]) => !notApplied.has(key)),
  ];
  const { spec, status } = raw;
  return {
    kind,
    namespace,
    name,
    uid,
    owner: ownerReferences.find(
      (one) => one.kind === 'Gateway' && one.apiVersion.startsWith(`${gatewayGroup}/`),
    )?.uid,
    fingerprint: createHash('sha256').update(JSON.stringify(applied)).digest('base64'),
    ...(kind === 'deployment'
      ? {
          replicas: { wanted: spec?.replicas ?? 1, available: status?.availableReplicas ?? 0 },
          conditions: (status?.conditions ?? []).map(({ type, status: is, message = '' }) => ({
            type,
            status: is,
            message,
          })),
        }
      : {}),
  };
}
