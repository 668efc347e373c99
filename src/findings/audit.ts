/** Finds audit mode that may have been forgotten, or that its author relies on in vain. Pure. */
import { labelsOf } from '../model/labels.js';
import { isAudit, policyModeLabel } from '../model/object-settings.js';
import type { Finding } from './finding.js';
import type { Labeled } from './objects.js';

/** @param root the namespace whose policies apply to the whole mesh */
export function auditFindings(
  namespaces: readonly Labeled[],
  settings: readonly { readonly spec?: { readonly policyMode?: string } }[],
  root: string,
): Finding[] {
  const isOfMesh = settings.some(({ spec }) => spec?.policyMode === 'audit');
  const ofMesh: Finding[] = isOfMesh
    ? [
        {
          level: 'warn',
          what: 'the mesh is in audit mode: no policy refuses anything, and strict mode neither',
          help: 'once weft_audited_total counts nothing that should pass, set policyMode: enforce in MeshSettings',
        },
      ]
    : [];
  return [
    ...ofMesh,
    ...namespaces
      .filter((one) => isAudit(labelsOf(one)))
      .map(({ metadata: { name } }): Finding => {
        if (name === root)
          return {
            level: 'warn',
            what: `label ${policyModeLabel}=audit on the root namespace ${name} has no effect`,
            help: 'its policies are those of the mesh: set policyMode: audit in MeshSettings to put all of them in audit mode',
          };
        return {
          level: 'warn',
          what: `namespace ${name} is in audit mode: its policies and its strict mode refuse nothing`,
          help: `once nothing that should pass is recorded (npx weft policy observe -n ${name}): kubectl label --overwrite namespace ${name} ${policyModeLabel}=enforce`,
        };
      }),
  ];
}
