/** Reads of objects that may not exist. */
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from './request.js';

/**
 * What the API server has at a path; undefined where it has nothing. Errors: ApiError.
 * @param absentStatuses HTTP statuses that count as nothing; add 403 where a caller without the right is to go on without the object
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
