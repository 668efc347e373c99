import { istioKind } from './istio-kind.js';

export const authorizationPolicyKind = istioKind(
  'AuthorizationPolicy',
  { group: 'security.istio.io', versions: ['v1', 'v1beta1'], plural: 'authorizationpolicies' },
  {},
);
