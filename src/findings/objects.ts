/** The fields of objects that findings read. Objects from an API server and from files are assignable. */
import type { AllowedRoutes } from '../kubernetes/allowed-routes.js';
import { labelsOf, namespaceOf, type Annotations, type Labels } from '../model/labels.js';
import { meshModeOf } from '../model/object-settings.js';

interface CheckedMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Labels;
  readonly annotations?: Annotations;
}
export interface Labeled {
  readonly metadata: CheckedMeta;
}
interface CheckedContainer {
  /** On an init container, `Always` makes it a sidecar. */
  readonly restartPolicy?: string;
  readonly ports?: readonly {
    readonly name?: string;
    readonly containerPort: number;
    readonly protocol?: string;
  }[];
}
export interface CheckedPod extends Labeled {
  readonly spec: {
    readonly hostNetwork?: boolean;
    readonly containers?: readonly CheckedContainer[];
    readonly initContainers?: readonly CheckedContainer[];
  };
  readonly status?: { readonly phase?: string };
}
export interface CheckedWorkload extends Labeled {
  readonly spec: { readonly ports?: CheckedContainer['ports'] };
}
export interface CheckedService extends Labeled {
  readonly spec: {
    readonly selector?: Labels;
    readonly ports?: readonly {
      readonly port: number;
      readonly targetPort?: number | string;
      readonly protocol?: string;
    }[];
  };
}
export interface CheckedPolicy extends Labeled {
  /** Absent: AccessPolicy. */
  readonly kind?: string;
  readonly spec: {
    readonly action: string;
    readonly selector?: { readonly matchLabels?: Labels };
    readonly targetRefs?: readonly { readonly name: string }[];
    readonly rules?: readonly {
      readonly to?: readonly { readonly ports?: readonly number[]; readonly notPorts?: readonly number[] }[];
    }[];
  };
}
export interface CheckedGateway extends Labeled {
  readonly spec: {
    readonly gatewayClassName: string;
    readonly listeners?: readonly { readonly protocol: string; readonly allowedRoutes?: AllowedRoutes }[];
  };
}
export interface CheckedClass extends Labeled {
  readonly spec: { readonly controllerName: string };
}

export const nameOf = (kind: string, object: Labeled): string =>
  kind === 'Namespace' || kind === 'MeshSettings'
    ? `${kind} ${object.metadata.name}`
    : `${kind} ${namespaceOf(object)}/${object.metadata.name}`;

export const isGone = ({ status }: CheckedPod): boolean =>
  status?.phase === 'Succeeded' || status?.phase === 'Failed';

/** Containers that run as long as the pod: init containers that terminate are left out, as they serve no ports. */
export const runningContainers = ({ spec }: CheckedPod): readonly CheckedContainer[] => [
  ...(spec.containers ?? []),
  ...(spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always'),
];

/** Whether the labels of a pod and of its namespace enroll the pod. */
export const isEnrolled = (pod: CheckedPod, namespace: Labeled | undefined): boolean =>
  pod.spec.hostNetwork !== true &&
  (meshModeOf(labelsOf(pod)) ?? meshModeOf(labelsOf(namespace))) === 'enabled';
