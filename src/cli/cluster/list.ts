/** Lists objects of the API server, page by page. */
import { basename } from 'node:path/posix';
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from '../../kubernetes/request.js';

const pageSize = 500;
/** Is called for a kind that this account may not read. */
export type OnUnread = (plural: string, why: string) => void;

/** An account may lack the right to read all kinds. */
const kindsNamed = 6;
export const kindsText = (names: readonly string[]): string => {
  const more = names.length - kindsNamed;
  return names.slice(0, kindsNamed).join(', ') + (more > 0 ? ` and ${more} more kinds` : '');
};

/** Kinds that could not be read, said once. */
export class UnreadKinds {
  readonly #kinds = new Map<string, string>();

  readonly add: OnUnread = (plural, why) => void this.#kinds.set(plural, why);

  /** One sentence, with the reason of the first. */
  texts(): string[] {
    const [first] = this.#kinds.values();
    if (first === undefined) return [];
    return [
      `problems of ${kindsText([...this.#kinds.keys()])} are not known, because this account may not read these objects: ${first}`,
    ];
  }
}

/**
 * Empty if the kind does not exist, or if this account may not read it. Errors: ApiError.
 * @param pick returns the fields of an object to keep
 */
export async function listAt<T>(
  config: KubeConfig,
  path: string,
  pick: (item: T) => T,
  onUnread?: OnUnread,
): Promise<T[]> {
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
      if (error instanceof ApiError && error.status === 403) onUnread?.(basename(path), error.message);
      if (error instanceof ApiError && (error.status === 404 || error.status === 403)) return items;
      throw error;
    }
    for (const item of page.items ?? []) items.push(pick(item));
    from = page.metadata?.continue ?? '';
  } while (from !== '');
  return items;
}
