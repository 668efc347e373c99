/** What is said about objects on the objects: conditions as Kubernetes words them. Pure. */
import { closedMeans } from '../compile/closed.js';
import { namespaceOf } from '../../src/model/labels.js';
import {
  acceptedType,
  capturedCondition,
  enforcedType,
  type MeshObject,
  type PodObject,
} from '../objects/objects.js';
import { conditionsOf, type Saying } from './route.js';
import { statusPathOf } from './path.js';
import type { Write } from '../kubernetes/apply-queue.js';

export const rfc3339 = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z/, 'Z');

/** A node's clock may be wrong, and its report may hold any number. */
const pastMs = (ms: number): number => (ms >= 0 && ms <= Date.now() ? ms : Date.now());

/** The API server refuses longer messages, and the write would be tried again and again. */
const whyCharsMax = 1_024;

export interface PodCapture {
  readonly captured: boolean;
  readonly sinceMs: number;
  readonly why: string;
}

/** Of a pod, by its agent's word; undefined where the pod says so already. */
export function podCondition(pod: PodObject, state: PodCapture | undefined): Write | undefined {
  const now = pod.status?.conditions?.find(({ type }) => type === capturedCondition);
  if (!state && now?.status !== 'True') return undefined;
  const wanted = state?.captured
    ? { status: 'True', reason: 'Captured', message: `by the agent of node ${pod.spec.nodeName}` }
    : state
      ? { status: 'False', reason: 'Waiting', message: state.why.slice(0, whyCharsMax) }
      : { status: 'False', reason: 'NotInMesh', message: `node ${pod.spec.nodeName} holds it no more` };
  if (now?.status === wanted.status && now.reason === wanted.reason && now.message === wanted.message)
    return undefined;
  const path = statusPathOf(pod);
  if (path === undefined) return undefined;
  const { name, uid } = pod.metadata;
  const namespace = namespaceOf(pod);
  return {
    path,
    body: {
      apiVersion: 'v1',
      kind: 'Pod',
      // With its UID: a pod of the same name that came after it is not meant.
      metadata: { name, namespace, ...(uid === undefined ? {} : { uid }) },
      status: {
        conditions: [
          {
            type: capturedCondition,
            ...wanted,
            lastTransitionTime: rfc3339(state?.captured ? pastMs(state.sinceMs) : Date.now()),
          },
        ],
      },
    },
  };
}

export const judgedKinds = ['AccessPolicy', 'MeshSettings', 'ExternalService', 'Workload'] as const;
type JudgedKind = (typeof judgedKinds)[number];
const isJudged = (object: MeshObject): object is Extract<MeshObject, { kind: JudgedKind }> =>
  (judgedKinds as readonly string[]).includes(object.kind);

/**
 * The condition `Accepted` of one of Weft's own objects, and `enforced` where a waypoint has to enforce it. Undefined for other kinds, and
 * where the object has these conditions already.
 * @param why what cannot be read, or another reason; undefined: in force
 */
export function acceptedCondition(
  object: MeshObject,
  why: string | Pick<Saying, 'reason' | 'message'> | undefined,
  enforced?: Saying,
): Write | undefined {
  if (!isJudged(object)) return undefined;
  const { name, namespace, generation = 0 } = object.metadata;
  const accepted: Saying =
    why === undefined
      ? { type: acceptedType, status: 'True', reason: 'Accepted', message: 'in force' }
      : typeof why === 'object'
        ? { type: acceptedType, status: 'False', ...why }
        : {
            type: acceptedType,
            status: 'False',
            reason: 'Invalid',
            message: `${why}; ${closedMeans(object.kind)}`,
          };
  const now = object.status?.conditions ?? [];
  const wanted = [accepted, ...(enforced ? [enforced] : [])];
  const same = ({ type, status, message }: Saying): boolean => {
    const found = now.find((one) => one.type === type);
    return found?.status === status && found.observedGeneration === generation && found.message === message;
  };
  if (wanted.every(same) && (enforced || !now.some(({ type }) => type === enforcedType))) return undefined;
  const path = statusPathOf(object);
  if (path === undefined) return undefined;
  return {
    path,
    body: {
      apiVersion: 'weft.dev/v1alpha1',
      kind: object.kind,
      metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
      status: { conditions: conditionsOf(wanted, now, generation, rfc3339(Date.now())) },
    },
  };
}
