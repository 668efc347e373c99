/** Built-in Kubernetes objects, with the fields that Weft reads. */
import type { Condition, Meta } from './metadata.js';

export interface NamespaceObject {
  readonly kind: 'Namespace';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
}
export interface NodeObject {
  readonly kind: 'Node';
  readonly metadata: Meta;
  readonly status?: { readonly addresses?: readonly { readonly type: string; readonly address: string }[] };
}
/** The target of a probe or a lifecycle hook. */
export interface Handler {
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string };
  readonly httpGet?: { readonly port: number | string; readonly host?: string };
  readonly grpc?: { readonly port: number };
}
export interface Container {
  readonly name?: string;
  /** For an init container, `Always` makes it a sidecar. */
  readonly restartPolicy?: string;
  readonly ports?: readonly {
    readonly name?: string;
    readonly containerPort: number;
    readonly protocol?: string;
  }[];
  readonly livenessProbe?: Handler;
  readonly readinessProbe?: Handler;
  readonly startupProbe?: Handler;
  readonly lifecycle?: { readonly postStart?: Handler; readonly preStop?: Handler };
}
export interface PodObject {
  readonly kind: 'Pod';
  readonly metadata: Meta;
  /** What made the pod: its owner reference with `controller`. SMI's TrafficMetrics are added up by it. */
  readonly controller?: { readonly kind: string; readonly name: string };
  readonly spec: {
    readonly nodeName: string;
    readonly serviceAccountName?: string;
    readonly hostNetwork?: boolean;
    readonly containers?: readonly Container[];
    readonly initContainers?: readonly Container[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly conditions?: readonly Condition[];
  };
}
export interface ServiceObject {
  readonly kind: 'Service';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    readonly type?: string;
    readonly selector?: Readonly<Record<string, string>>;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
    readonly ports?: readonly {
      readonly name?: string;
      readonly port: number;
      readonly targetPort?: number | string;
      readonly appProtocol?: string;
      readonly protocol?: string;
    }[];
    readonly internalTrafficPolicy?: string;
    readonly trafficDistribution?: string;
    readonly sessionAffinity?: string;
    readonly publishNotReadyAddresses?: boolean;
  };
}
/** An EndpointSlice of a Service without a selector, whose endpoints cannot be derived from pods. */
export interface EndpointSliceObject {
  readonly kind: 'EndpointSlice';
  readonly metadata: Meta;
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly ready: boolean;
    readonly nodeName?: string;
  }[];
  readonly ports: readonly { readonly name?: string; readonly port: number }[];
}
