/** Manifests and their compiled policies, for tests of audit mode. */
import assert from 'node:assert/strict';
import { compile } from '../../control/compile/compile.js';
import { parseManifests } from '../../control/source/parse.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';

export const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };

/** A Namespace, after other documents. */
export const namespace = (labels: string, name = 'shop'): string =>
  `---\nkind: Namespace\nmetadata: { name: ${name}, labels: { ${labels} } }\n`;
/** The settings of the mesh, after other documents. */
export const mesh = (spec: string): string =>
  `---\napiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { ${spec} }\n`;

export const objectsOf = (text: string) => {
  const { objects, errors } = parseManifests('x', text);
  assert.deepEqual(errors, []);
  return objects;
};
export const policiesOf = (resources: Iterable<{ readonly kind: string; readonly value: unknown }>) =>
  [...resources].flatMap(({ kind, value }) => (kind === 'policy' ? [value as AuthorizationPolicy] : []));
/** The policies that manifests compile to. */
export const policies = (text: string): AuthorizationPolicy[] =>
  policiesOf(compile(objectsOf(text), settings).all());
/** Keys of those that decide, not only log. */
export const enforced = (list: readonly AuthorizationPolicy[]): string[] =>
  list
    .filter(({ dryRun }) => !dryRun)
    .map(({ key }) => key)
    .sort();
