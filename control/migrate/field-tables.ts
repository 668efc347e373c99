/** The table of fields of each kind of another mesh that the control plane reads, by `<group>/<kind>`. */
import { destinationRuleFields } from '../dialects/istio/destination-rule-fields.js';
import type { FieldTable } from '../dialects/fields.js';
import {
  authorizationPolicyFields,
  peerAuthenticationFields,
  requestAuthenticationFields,
} from '../dialects/istio/security-fields.js';
import { virtualServiceFields } from '../dialects/istio/virtual-service-fields.js';

export const fieldTables: Readonly<Record<string, FieldTable | undefined>> = {
  'networking.istio.io/VirtualService': virtualServiceFields,
  'networking.istio.io/DestinationRule': destinationRuleFields,
  'security.istio.io/AuthorizationPolicy': authorizationPolicyFields,
  'security.istio.io/PeerAuthentication': peerAuthenticationFields,
  'security.istio.io/RequestAuthentication': requestAuthenticationFields,
};
