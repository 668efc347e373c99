/** GatewayClasses and Gateways, as far as Weft reads them. */
import type { AllowedRoutes } from '../../src/kubernetes/allowed-routes.js';
import type { Condition, Meta } from './metadata.js';

export const gatewayGroup = 'gateway.networking.k8s.io';

export interface GatewayClassObject {
  readonly kind: 'GatewayClass';
  readonly metadata: Meta;
  readonly spec: { readonly controllerName: string };
  readonly status?: { readonly conditions?: readonly Condition[] };
}
/** Of its listeners what its status repeats, and whose Services it admits: a waypoint takes tunnels, whatever they say. */
export interface GatewayObject {
  readonly kind: 'Gateway';
  readonly metadata: Meta;
  readonly spec: {
    readonly gatewayClassName: string;
    /** For what is made for it. */
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
