/** API paths and versions of the kinds. Pure. */
import { isIstio, isRoute, isSmi, type MeshObject } from '../objects/objects.js';
import { kinds } from './kinds.js';

/** The `apiVersion` of an object: for a route or an object of another mesh the version in which it was read, otherwise the newest one. */
export function apiVersionOf(object: MeshObject): string {
  if ((isRoute(object) || isIstio(object) || isSmi(object)) && object.apiVersion) return object.apiVersion;
  const { group, versions } = kinds[object.kind].address;
  return group === '' ? versions[0] : `${group}/${versions[0]}`;
}

/** The name of a kind in the API. */
export const apiKindOf = (kind: MeshObject['kind']): string => kinds[kind].address.kind ?? kind;

/** The API path of an `apiVersion`. `v1` belongs to the core group. */
export const apiPathOf = (apiVersion: string): string =>
  apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;

/** API paths of a kind's objects in all namespaces, one per version. */
export const listPathsOf = (kind: MeshObject['kind']): string[] => {
  const { group, versions, plural } = kinds[kind].address;
  return versions.map((version) => `${apiPathOf(group === '' ? version : `${group}/${version}`)}/${plural}`);
};
