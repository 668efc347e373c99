/** What is there of what was made for Gateways, as the API server has it. Pure. */
import { createHash } from 'node:crypto';
import { gatewayGroup, type Condition } from '../objects/objects.js';
import type { RenderedKind } from './render.js';

/** An object that is there, as far as it is looked at. */
export interface Made {
  readonly kind: RenderedKind;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** UID of the Gateway that it is made for. */
  readonly owner: string | undefined;
  /** Of all that may be applied: another one once somebody has changed the object. */
  readonly fingerprint: string;
  /** Of a Deployment. */
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

/** Kubernetes' own controllers keep their state in these. */
const controllersAnnotation = /^(deployment\.kubernetes\.io|autoscaling\.alpha\.kubernetes\.io)\//;
/** Said of an object by others, or the same for all of its kind. */
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
