/** The table of fields of each kind of Istio's API, by `<group>/<kind>`. A kind without a table is missing in docs/istio.md. */
import { nothing } from '../fields.js';
import type { FieldTable } from '../fields.js';
import { destinationRuleFields } from './destination-rule/fields.js';
import {
  authorizationPolicyFields,
  peerAuthenticationFields,
  requestAuthenticationFields,
} from './security-fields.js';
import { serviceEntryFields } from './service-entry-fields.js';
import { sidecarFields } from './sidecar.js';
import { telemetryFields } from './telemetry.js';
import { virtualServiceFields } from './virtual-service-fields.js';
import { workloadEntryFields } from './workload-entry.js';
import { workloadGroupFields } from './workload-group.js';
import { unsupportedMessages } from './unsupported.js';

/** Kinds of which no field has an effect. */
const unsupported = (message: string): FieldTable => ({ '': nothing(message) });

export const istioFieldTables: Readonly<Record<string, FieldTable | undefined>> = {
  'networking.istio.io/VirtualService': virtualServiceFields,
  'networking.istio.io/DestinationRule': destinationRuleFields,
  'networking.istio.io/ServiceEntry': serviceEntryFields,
  'networking.istio.io/WorkloadEntry': workloadEntryFields,
  'networking.istio.io/WorkloadGroup': workloadGroupFields,
  'networking.istio.io/Sidecar': sidecarFields,
  'security.istio.io/AuthorizationPolicy': authorizationPolicyFields,
  'security.istio.io/PeerAuthentication': peerAuthenticationFields,
  'security.istio.io/RequestAuthentication': requestAuthenticationFields,
  'telemetry.istio.io/Telemetry': telemetryFields,
  'networking.istio.io/Gateway': unsupported(unsupportedMessages.IstioGateway),
  'networking.istio.io/EnvoyFilter': unsupported(unsupportedMessages.EnvoyFilter),
  'networking.istio.io/ProxyConfig': unsupported(unsupportedMessages.ProxyConfig),
  'extensions.istio.io/WasmPlugin': unsupported(unsupportedMessages.WasmPlugin),
  'extensions.istio.io/TrafficExtension': unsupported(unsupportedMessages.TrafficExtension),
};
