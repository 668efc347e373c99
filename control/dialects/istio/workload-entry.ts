import { istioKind } from './istio-kind.js';

export const workloadEntryKind = istioKind(
  'WorkloadEntry',
  { group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], plural: 'workloadentries' },
  {},
);
