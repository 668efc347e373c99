import { certificatesBytesMax } from '../dialects/gateway/backend-tls-policy.js';
import { certificatesKey, type ConfigMapObject } from '../objects/objects.js';
import type { Kind } from './kind.js';
import { pickMeta, type Raw } from './metadata.js';
import { recompileTargets } from './targets.js';

/**
 * Stands for larger certificates, which are refused: their length is enough to see it. A slice of them would keep the whole text in memory, and
 * every tenant may create ConfigMaps of 1 MiB.
 */
const tooLarge = ' '.repeat(certificatesBytesMax + 1);

/** ConfigMaps with certificates, to which BackendTLSPolicies refer. */
export const configMapKind: Kind<ConfigMapObject> = {
  address: { group: '', versions: ['v1'], plural: 'configmaps' },
  schema: 'core',
  pickFields(raw) {
    const { metadata, data } = raw as Raw<Partial<ConfigMapObject>>;
    const certificates = data?.[certificatesKey];
    if (certificates === undefined) return undefined;
    const { name, namespace } = pickMeta(metadata);
    const kept = certificates.length > certificatesBytesMax ? tooLarge : certificates;
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
