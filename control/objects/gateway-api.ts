/** GatewayClasses and Gateways, with the fields that Weft reads. */
import type { AllowedRoutes } from '../../src/kubernetes/allowed-routes.js';
import type { Condition, Meta } from './metadata.js';

export const gatewayGroup = 'gateway.networking.k8s.io';

export interface GatewayClassObject {
  readonly kind: 'GatewayClass';
  readonly metadata: Meta;
  readonly spec: { readonly controllerName: string };
  readonly status?: { readonly conditions?: readonly Condition[] };
}
/**
 * A Gateway. Its listeners serve only for the status and for the namespaces that it admits: a waypoint accepts tunnels regardless of its
 * listeners.
 */
export interface GatewayObject {
  readonly kind: 'Gateway';
  readonly metadata: Meta;
  readonly spec: {
    readonly gatewayClassName: string;
    /** Labels, annotations and parameters of the objects that are created for the Gateway. */
    readonly infrastructure?: {
      readonly labels?: Readonly<Record<string, string>>;
      readonly annotations?: Readonly<Record<string, string>>;
      readonly parametersRef?: { readonly group: string; readonly kind: string; readonly name: string };
    };
    readonly listeners?: readonly {
      readonly name: string;
      readonly port: number;
      readonly protocol: string;
      readonly allowedRoutes?: AllowedRoutes;
    }[];
  };
  readonly status?: {
    readonly addresses?: readonly { readonly type?: string; readonly value?: string }[];
    readonly conditions?: readonly Condition[];
    readonly listeners?: readonly { readonly name: string; readonly conditions?: readonly Condition[] }[];
  };
}
