/** Header fields of a message as a flat list, for all HTTP versions. */

/** Name, value, name, value ...; names in lower case. Pseudo-headers are properties of the head instead. */
export type Headers = string[];

export function headerOf(headers: Headers, name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return headers[i + 1];
  return undefined;
}

/** All values of a field, joined by commas as RFC 9110, section 5.3 allows; undefined without any. */
export function joinedHeader(headers: Headers, name: string): string | undefined {
  let found: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== name) continue;
    found = found === undefined ? (headers[i + 1] ?? '') : `${found}, ${headers[i + 1] ?? ''}`;
  }
  return found;
}

export function removeHeader(headers: Headers, name: string): void {
  let to = 0;
  for (let from = 0; from < headers.length; from += 2) {
    if (headers[from] === name) continue;
    if (to !== from) {
      headers[to] = headers[from] ?? '';
      headers[to + 1] = headers[from + 1] ?? '';
    }
    to += 2;
  }
  headers.length = to;
}

/** Sets a field, in place of all values that it had. */
export function setHeader(headers: Headers, name: string, value: string): void {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== name) continue;
    headers[i + 1] = value;
    if (i + 2 < headers.length) {
      const rest = headers.splice(i + 2);
      removeHeader(rest, name);
      headers.push(...rest);
    }
    return;
  }
  headers.push(name, value);
}
