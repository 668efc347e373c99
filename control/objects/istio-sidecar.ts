/** The spec of Istio's Sidecar, with the fields that Weft reads. */
import type { Labels } from '../../src/model/labels.js';

export interface SidecarSpec {
  readonly workloadSelector?: { readonly labels?: Labels };
  readonly egress?: readonly { readonly hosts: readonly string[]; readonly port?: object }[];
  readonly outboundTrafficPolicy?: { readonly mode?: 'REGISTRY_ONLY' | 'ALLOW_ANY' };
}
