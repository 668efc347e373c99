/** AuthenticationPolicies, with the fields of their CRD (daemonset/chart/crds/authenticationpolicies.yaml). Durations are text. */
import type { Condition, Meta } from './metadata.js';
import type { AncestorStatus, TargetRef } from './traffic-policy.js';

export interface JwtIssuerSpec {
  readonly issuer: string;
  readonly audiences?: readonly string[];
  readonly jwks: { readonly inline?: string; readonly uri?: string };
  readonly from?: readonly {
    readonly header?: { readonly name: string; readonly prefix?: string };
    readonly query?: string;
    readonly cookie?: string;
  }[];
  readonly clockSkew?: string;
  readonly forward?: boolean;
  readonly claimHeaders?: readonly { readonly header: string; readonly claim: readonly string[] }[];
  readonly payloadHeader?: string;
  readonly spaceDelimitedClaims?: readonly string[];
}
export interface JwtSpec {
  readonly issuers: readonly JwtIssuerSpec[];
  /** Absent: true. */
  readonly required?: boolean;
  readonly dryRun?: boolean;
}
export interface AuthenticationPolicyObject {
  readonly kind: 'AuthenticationPolicy';
  readonly metadata: Meta;
  /** Set on the closed form of an unreadable policy: why it cannot be read (compile/closed-authentication-policy.ts). */
  readonly invalid?: string;
  /** Set on the closed form if a target cannot be read: any pod of the namespace may be meant. */
  readonly closesNamespace?: true;
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly ancestors?: readonly AncestorStatus[];
  };
  readonly spec: {
    readonly targetRefs: readonly TargetRef[];
    /** Absent in the closed form only. */
    readonly jwt?: JwtSpec;
  };
}
