/** Compiles the condition on one query parameter: the first value of the name counts. */
import type { ValueMatch } from '../../model/route.js';
import type { RequestHead } from '../http/http-stream.js';

const isEscaped = (text: string, from: number): boolean =>
  text.indexOf('%', from) >= 0 || text.indexOf('+', from) >= 0;

/** @param holds whether the value matches */
export function queryCondition(
  { kind, name, value }: ValueMatch,
  holds: (value: string) => boolean,
): (head: RequestHead) => boolean {
  return ({ path }) => {
    const at = path.indexOf('?');
    if (at < 0) return false;
    if (isEscaped(path, at)) {
      const found = new URLSearchParams(path.slice(at + 1)).get(name);
      return found !== null && holds(found);
    }
    // Without escapes the query is compared where it is, so that nothing is copied.
    for (let begin = at + 1; begin <= path.length;) {
      const next = path.indexOf('&', begin);
      const end = next < 0 ? path.length : next;
      const after = begin + name.length;
      const hasValue = after < end && path.charCodeAt(after) === 0x3d;
      if (begin < end && after <= end && (after === end || hasValue) && path.startsWith(name, begin)) {
        const from = hasValue ? after + 1 : end;
        switch (kind) {
          case 'present':
            return true;
          case 'exact':
            return end - from === value.length && path.startsWith(value, from);
          case 'prefix':
            return end - from >= value.length && path.startsWith(value, from);
          case 'regex':
            return holds(path.slice(from, end));
        }
      }
      begin = end + 1;
    }
    return false;
  };
}
