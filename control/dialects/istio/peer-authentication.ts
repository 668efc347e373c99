import { remarkOf, usedFields } from '../fields.js';
import { closedPeerAuthentication } from './closed-security.js';
import { istioKind } from './istio-kind.js';
import { mtlsPolicy, unusedBecause } from './mtls.js';
import { peerAuthenticationFields } from './security-fields.js';
import { rootRemark } from './security-scope.js';

export { peerAuthenticationFields } from './security-fields.js';

export const peerAuthenticationKind = istioKind(
  'PeerAuthentication',
  { group: 'security.istio.io', versions: ['v1', 'v1beta1'], plural: 'peerauthentications' },
  {
    closed: closedPeerAuthentication,
    dependents({ namespace }, { indexes, rootNamespace }, recompile) {
      // Narrower objects inherit the mode, and another object of the same level may now be the oldest.
      for (const index of [indexes.PeerAuthentication, indexes.Pod, indexes.Workload])
        recompile.objects(namespace === rootNamespace ? index.all() : index.in(namespace));
    },
    compile(object, { settings, registry }) {
      const policy = mtlsPolicy(object, registry);
      if (settings.removal !== undefined) return { resources: [] };
      const problem = unusedBecause(object, registry);
      const remark = [
        remarkOf(usedFields(object.spec, peerAuthenticationFields)),
        rootRemark(object, registry.rootNamespace),
      ]
        .filter((one) => one !== undefined)
        .join('; ');
      return {
        resources: policy ? [{ kind: 'policy', value: policy }] : [],
        ...(problem ? { problem } : {}),
        ...(remark === '' ? {} : { remark }),
      };
    },
  },
);
