import { istioKind } from './istio-kind.js';

export const workloadGroupKind = istioKind(
  'WorkloadGroup',
  { group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], plural: 'workloadgroups' },
  {},
);
