import { istioKind } from './istio-kind.js';

export const requestAuthenticationKind = istioKind(
  'RequestAuthentication',
  { group: 'security.istio.io', versions: ['v1', 'v1beta1'], plural: 'requestauthentications' },
  {},
);
