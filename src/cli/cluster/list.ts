/** Lists objects of the API server, page by page. */
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from '../../kubernetes/request.js';

const pageSize = 500;
/**
 * Empty if the kind does not exist, or if this account may not read it. Errors: ApiError.
 * @param pick returns the fields of an object to keep
 */
export async function listAt<T>(config: KubeConfig, path: string, pick: (item: T) => T): Promise<T[]> {
  const items: T[] = [];
  let from = '';
  do {
    const query = new URLSearchParams({
      limit: String(pageSize),
      ...(from === '' ? {} : { continue: from }),
    });
    let page: { items?: T[]; metadata?: { continue?: string } };
    try {
      page = (await requestJson(config, 'GET', `${path}?${query}`)) as typeof page;
    } catch (error) {
      if (error instanceof ApiError && (error.status === 404 || error.status === 403)) return items;
      throw error;
    }
    for (const item of page.items ?? []) items.push(pick(item));
    from = page.metadata?.continue ?? '';
  } while (from !== '');
  return items;
}
