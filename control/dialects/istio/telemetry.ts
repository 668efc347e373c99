import { istioKind } from './istio-kind.js';

export const telemetryKind = istioKind(
  'Telemetry',
  { group: 'telemetry.istio.io', versions: ['v1', 'v1alpha1'], plural: 'telemetries' },
  {},
);
