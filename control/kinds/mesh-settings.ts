import { isEnrolled } from '../compile/enrollment.js';
import { isEnrolling } from '../compile/first-enrollment.js';
import { strictPolicy } from '../compile/policies.js';
import type { MeshSettingsObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';
import { acceptedStatus } from '../status/accepted.js';
import type { Kind } from './kind.js';
import { pickOwn, type Raw } from './metadata.js';

export const meshSettingsKind: Kind<MeshSettingsObject> = {
  address: { group: 'weft.dev', versions: ['v1alpha1'], plural: 'meshsettings', clusterWide: true },
  schema: 'crd',
  pickFields: (raw) => ({ kind: 'MeshSettings', ...pickOwn(raw as Raw<MeshSettingsObject>) }),
  dependents: (_change, _registry, recompile) => recompile.everything(),
  compile(object, { settings, registry, mesh }) {
    // If there are several MeshSettings, one of them is in force.
    const isStrict = object.spec === mesh && mesh.mode === 'strict';
    if (settings.removal !== undefined || !isStrict || isFirstInstall(registry)) return { resources: [] };
    return { resources: [{ kind: 'policy', value: strictPolicy(registry.rootNamespace, 'mesh', 'global') }] };
  },
  status: acceptedStatus,
};

/** Whether all enrolled namespaces are in their first enrollment. Only then does the strict mode of the mesh wait. */
function isFirstInstall({ indexes }: Registry): boolean {
  const enrolled = [...indexes.Namespace.all()].filter(isEnrolled);
  return enrolled.length > 0 && enrolled.every(isEnrolling);
}
