/** Policies of the Gateway API about backends, with the fields that Weft reads. */
import type { Meta } from './metadata.js';
import type { AncestorStatus, TargetRef } from './traffic-policy.js';
import type { SessionPersistenceObject } from './routes.js';

export const experimentalGatewayGroup = 'gateway.networking.x-k8s.io';

interface PolicyOf<Kind extends string, Spec> {
  readonly kind: Kind;
  readonly metadata: Meta;
  /** Set on the closed form of an unreadable policy: why it cannot be read (compile/closed.ts). */
  readonly invalid?: string;
  readonly spec: { readonly targetRefs: readonly TargetRef[] } & Spec;
  readonly status?: { readonly ancestors?: readonly AncestorStatus[] };
}
/** A retry budget (GEP-3388). */
export type BackendTrafficPolicyObject = PolicyOf<
  'XBackendTrafficPolicy',
  {
    readonly retryConstraint?: {
      readonly budget?: { readonly percent?: number; readonly interval?: string };
      readonly minRetryRate?: { readonly count?: number; readonly interval?: string };
    };
    readonly sessionPersistence?: SessionPersistenceObject;
  }
>;
/** TLS of the connections to a Service's endpoints. */
export type BackendTlsPolicyObject = PolicyOf<
  'BackendTLSPolicy',
  {
    readonly validation: {
      readonly hostname: string;
      readonly caCertificateRefs?: readonly {
        readonly group: string;
        readonly kind: string;
        readonly name: string;
      }[];
      readonly wellKnownCACertificates?: string;
      readonly subjectAltNames?: readonly {
        readonly type: 'Hostname' | 'URI';
        readonly hostname?: string;
        readonly uri?: string;
      }[];
    };
    readonly options?: Readonly<Record<string, string>>;
  }
>;
/** A ConfigMap with certificates. Others are not kept. */
export interface ConfigMapObject {
  readonly kind: 'ConfigMap';
  readonly metadata: Meta;
  readonly data: Readonly<Record<string, string>>;
}
/** The key of a ConfigMap with certificates. */
export const certificatesKey = 'ca.crt';
