/** Compiles manifests for commands that evaluate policies: the current state, and the state with further manifests applied. Pure. */
import { parseTrustDomain } from '../../src/model/identity.js';
import { isTemplatePodName } from '../../src/model/template-pod.js';
import type { MeshSnapshot, PolicyMeshes } from '../../src/state/snapshot.js';
import { compile, type Compiler } from '../compile/compile.js';
import { loadTexts, type Loaded } from '../migrate/load.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import type { ManifestText } from '../problems/manifest-findings.js';
import { snapshotOfMesh } from './snapshot.js';
import { actingPolicies, uncompared } from './uncompared.js';

const trustDomain = parseTrustDomain('cluster.local');

/** Of two objects with one key the later one counts, as if it had been applied later. */
const byKey = (objects: readonly MeshObject[]): Map<ObjectKey, MeshObject> =>
  new Map(objects.map((object) => [objectKey(object), object]));
const compilerOf = (objects: readonly MeshObject[], root: string): Compiler =>
  compile([...byKey(objects).values()], { trustDomain, rootsVersion: '', rootNamespace: root });

/** The compiled mesh of these objects. */
export const snapshotOf = (objects: readonly MeshObject[], root: string): MeshSnapshot =>
  snapshotOfMesh(compilerOf(objects, root), trustDomain);

const problemsOf = ({ sources, problems }: Loaded): string[] => [
  ...problems.map(({ file, line, message }) => `${file}${line > 0 ? `:${line}` : ''}: ${message}`),
  ...sources.flatMap(({ file, line, kind, namespace, name, errors }) =>
    errors.map(
      (error) => `${file === undefined ? '' : `${file}:${line}: `}${kind} ${namespace}/${name}: ${error}`,
    ),
  ),
];

/** A pod made of a template stands for pods that a live cluster has. */
const isOfTemplate = ({ kind, metadata }: MeshObject): boolean =>
  kind === 'Pod' && isTemplatePodName(metadata.name);

/**
 * @param current texts of the current state, or the objects of a cluster
 * @param applied manifests that are applied to it
 */
export function policyMeshes(
  current: readonly ManifestText[] | Loaded,
  applied: readonly ManifestText[],
  root: string,
): PolicyMeshes {
  const isLive = 'objects' in current;
  const loaded = isLive ? current : loadTexts(current);
  const added = loadTexts(applied, loaded.sources.length);
  const compiler = compilerOf(loaded.objects, root);
  const before = snapshotOfMesh(compiler, trustDomain);
  const read = {
    errors: problemsOf(added),
    warnings: problemsOf(loaded),
    unread: loaded.unread ?? loaded.problems.map(({ file, message }) => ({ text: `${file}: ${message}` })),
    before,
  };
  if (applied.length === 0) return { ...read, unevaluated: [], after: before };
  const acting = actingPolicies(compiler);
  compiler.apply(byKey(added.objects.filter((one) => !isLive || !isOfTemplate(one))));
  return { ...read, unevaluated: uncompared(acting, compiler), after: snapshotOfMesh(compiler, trustDomain) };
}
