import { istioKind } from './istio-kind.js';

export const peerAuthenticationKind = istioKind(
  'PeerAuthentication',
  { group: 'security.istio.io', versions: ['v1', 'v1beta1'], plural: 'peerauthentications' },
  {},
);
