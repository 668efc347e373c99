/** Reads Kubernetes objects that may not exist. */
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from './request.js';

/**
 * The object at a path of the API server; undefined if it does not exist. Errors: ApiError.
 * @param absentStatuses HTTP statuses treated as nonexistent; add 403 if a caller without permission should continue without the object
 */
export async function getOptional<T>(
  config: KubeConfig,
  path: string,
  absentStatuses: readonly number[] = [404],
): Promise<T | undefined> {
  try {
    return (await requestJson(config, 'GET', path)) as T;
  } catch (error) {
    if (error instanceof ApiError && absentStatuses.includes(error.status)) return undefined;
    throw error;
  }
}
