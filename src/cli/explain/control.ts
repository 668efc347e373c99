/** Asks the control plane what concerns two ends: it has compiled the mesh already, which takes seconds for all objects of a large cluster. */
import { errorText } from '../../base/errors.js';
import { ApiError } from '../../kubernetes/request.js';
import { workloadIdentityOf, parseSpiffeId } from '../../model/identity.js';
import { slashed, statedNamespace, type Ends } from '../../state/mesh-part.js';
import { askMesh } from '../control-admin.js';
import type { MeshFlags } from '../place.js';
import { isOfCluster } from '../place.js';
import { explanationQuestion } from './explanation-question.js';
import type { ExplainedMesh } from '../../model/explained-mesh.js';

/** Either the response, or why there is none. */
export type FromControl =
  | { readonly explained: ExplainedMesh; readonly why?: undefined }
  | { readonly explained?: undefined; readonly why: string };

/**
 * Namespaces in which the right is tried: that of the destination, that of the client, and all. The API server asks for the right in the namespace
 * of the URL, and a response has nothing of a namespace in which the caller lacks it.
 */
export function namespacesToTry({ source, identity, destination }: Ends): readonly (string | undefined)[] {
  const found = [
    statedNamespace(destination),
    source === undefined ? undefined : slashed(source)?.[0],
    namespaceOf(identity),
  ];
  const valid = found.filter((one) => one !== undefined && /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(one));
  return [...new Set(valid), undefined];
}

function namespaceOf(identity: string | undefined): string | undefined {
  try {
    return identity === undefined ? undefined : workloadIdentityOf(parseSpiffeId(identity))?.namespace;
  } catch {
    return undefined;
  }
}

const isForbidden = (error: unknown): boolean =>
  error instanceof Error && error.cause instanceof ApiError && error.cause.status === 403;

/** Never rejects: without a response, all objects are read. */
export async function askControl(ends: Ends, flags: MeshFlags): Promise<FromControl> {
  const tried = isOfCluster(flags) ? namespacesToTry(ends) : [undefined];
  let why = '';
  for (const namespace of tried) {
    try {
      return { explained: await askMesh(flags, explanationQuestion(ends, namespace)) };
    } catch (error) {
      why ||= errorText(error);
      if (!isForbidden(error)) return { why: errorText(error) };
    }
  }
  return { why };
}
