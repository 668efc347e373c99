/** Paths and versions of the kinds in the API server. Pure. */
import { isRoute, type MeshObject } from '../objects/objects.js';
import { kinds } from './kinds.js';

/** `apiVersion` of an object: a route's is that in which it was read. */
export function apiVersionOf(object: MeshObject): string {
  if (isRoute(object) && object.apiVersion) return object.apiVersion;
  const { group, versions } = kinds[object.kind].address;
  return group === '' ? versions[0] : `${group}/${versions[0]}`;
}

/** The path of an `apiVersion`: `v1` is the core group's. */
export const apiPathOf = (apiVersion: string): string =>
  apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;

/** Paths of a kind's objects in all namespaces, by version. */
export const listPathsOf = (kind: MeshObject['kind']): string[] => {
  const { group, versions, plural } = kinds[kind].address;
  return versions.map((version) => `${apiPathOf(group === '' ? version : `${group}/${version}`)}/${plural}`);
};
