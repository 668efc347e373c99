import { certificatesBytesMax } from '../compile/backend-tls-policy.js';
import { certificatesKey, type ConfigMapObject } from '../objects/objects.js';
import type { Kind } from './kind.js';
import { pickMeta, type Raw } from './metadata.js';
import { recompileTargets } from './targets.js';

/** ConfigMaps with certificates, to which BackendTLSPolicies refer. */
export const configMapKind: Kind<ConfigMapObject> = {
  address: { group: '', versions: ['v1'], plural: 'configmaps' },
  schema: 'core',
  pickFields(raw) {
    const { metadata, data } = raw as Raw<Partial<ConfigMapObject>>;
    const certificates = data?.[certificatesKey];
    if (certificates === undefined) return undefined;
    const { name, namespace } = pickMeta(metadata);
    // Larger certificates are refused: one byte more than the limit is enough to see it.
    const kept = certificates.slice(0, certificatesBytesMax + 1);
    return {
      kind: 'ConfigMap',
      metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
      data: { [certificatesKey]: kept },
    };
  },
  dependents({ namespace, name }, registry, recompile) {
    for (const policy of registry.policiesNaming(namespace, name))
      recompileTargets({ before: policy, now: policy, namespace }, registry, recompile);
  },
};
