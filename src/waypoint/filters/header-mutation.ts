/** Sets, adds and removes header fields, of a request or of a response (Gateway API, HTTPHeaderFilter). */
import type { HeaderFilter } from '../../discovery/gen/weft.js';
import type { HeaderPair } from '../../model/route.js';
import { removeHeader, setHeader, type Headers } from '../http/headers.js';
import { isFieldValue, isSettable } from './config-values.js';

/** The filter without the fields that no rule may set. `host` is one of them, unless `isHostValue` allows its value. */
export function safeChange(filter: HeaderFilter, isHostValue: (value: string) => boolean): HeaderFilter {
  const isSafe = ({ name, value }: HeaderPair): boolean =>
    isSettable(name) && isFieldValue(value) && (name !== 'host' || isHostValue(value));
  return { ...filter, set: filter.set.filter(isSafe), add: filter.add.filter(isSafe) };
}

/** In place: `set` replaces all values, `add` appends a value, `remove` removes all values. */
export function changeHeaders(headers: Headers, filter: HeaderFilter): void {
  for (const { name, value } of filter.set) setHeader(headers, name, value);
  for (const { name, value } of filter.add) {
    const before = headers.lastIndexOf(name);
    // RFC 9110, section 5.3: set-cookie is the only field that is no list. Cookies are separated by semicolons (RFC 6265, section 4.2.1).
    if (before >= 0 && before % 2 === 0 && name !== 'set-cookie')
      headers[before + 1] = `${headers[before + 1]}${name === 'cookie' ? '; ' : ','}${value}`;
    else headers.push(name, value);
  }
  for (const name of filter.remove) removeHeader(headers, name);
}
