import { namespaceOf } from '../../../src/model/labels.js';
import { usedFields } from '../fields.js';
import { fieldRemarks } from '../remarks.js';
import { auditCondition } from '../../status/audit.js';
import { dialectUpdate } from '../../status/dialect.js';
import { closedPeerAuthentication } from './closed-security.js';
import { istioKind } from './istio-kind.js';
import { mtlsPolicy, unusedBecause } from './mtls.js';
import { peerAuthenticationFields } from './security-fields.js';

export const peerAuthenticationKind = istioKind(
  'PeerAuthentication',
  { group: 'security.istio.io', versions: ['v1', 'v1beta1'], plural: 'peerauthentications' },
  {
    closed: closedPeerAuthentication,
    dependents({ namespace }, { indexes, rootNamespace }, recompile) {
      if (!recompile.once(`PeerAuthentications ${namespace}`)) return;
      // Narrower objects inherit the mode, and another object of the same level may now be the oldest.
      for (const index of [indexes.PeerAuthentication, indexes.Pod, indexes.Workload])
        recompile.objects(namespace === rootNamespace ? index.all() : index.in(namespace));
    },
    compile(object, { settings, security }) {
      const { mtls } = security(namespaceOf(object));
      const policy = mtlsPolicy(object, mtls);
      if (settings.removal !== undefined) return { resources: [] };
      const problem = unusedBecause(object, mtls);
      return {
        resources: policy ? [{ kind: 'policy', value: policy }] : [],
        ...(problem ? { problem } : {}),
        remarks: fieldRemarks(usedFields(object.spec, peerAuthenticationFields)),
      };
    },
    status: (object, lookup) => dialectUpdate(object, lookup, undefined, auditCondition(object, lookup.mesh)),
  },
);
