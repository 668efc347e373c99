/**
 * Query parameters of one name. URLSearchParams takes tens of milliseconds for a query of 60 KB, which a client may send: only names of a
 * fitting length are decoded here.
 */
interface Parameter {
  /** The pair is `query.slice(from, to)`. */
  readonly from: number;
  readonly to: number;
  readonly value: string;
}

/** A name, as `parametersOf` compares it. */
export interface ParameterName {
  /** One character for each byte of UTF-8. */
  readonly bytes: string;
}
/** Prepares a name once, for many queries. */
export const parameterName = (name: string): ParameterName => ({
  bytes: Buffer.from(name, 'utf8').toString('latin1'),
});

/**
 * The parameters of a name, in order, with their values decoded to one character per byte. Escapes are read as by URLSearchParams.
 * @param semicolons they separate as well: some endpoints read queries so
 */
export function parametersOf(query: string, { bytes }: ParameterName, semicolons = false): Parameter[] {
  const found: Parameter[] = [];
  const length = query.length;
  for (let from = 0; from <= length;) {
    let equals = -1;
    let to = from;
    for (; to < length; to++) {
      const code = query.charCodeAt(to);
      if (code === 0x26 || (semicolons && code === 0x3b)) break;
      if (code === 0x3d && equals < 0) equals = to;
    }
    const end = equals < 0 ? to : equals;
    // An empty part is no parameter.
    if (to > from && isName(query, from, end, bytes))
      found.push({ from, to, value: equals < 0 ? '' : decode(query.slice(equals + 1, to)) });
    from = to + 1;
  }
  return found;
}

/** Stops at the first character that differs: clients may send thousands of escaped names. */
function isName(query: string, from: number, end: number, bytes: string): boolean {
  let at = from;
  for (let i = 0; i < bytes.length; i++) {
    if (at >= end) return false;
    let code = query.charCodeAt(at);
    // A character of several bytes.
    if (code > 0x7f) return decode(query.slice(from, end)) === bytes;
    if (code === 0x25 && at + 2 < end && isHex(query.charCodeAt(at + 1)) && isHex(query.charCodeAt(at + 2))) {
      code = Number.parseInt(query.slice(at + 1, at + 3), 16);
      at += 3;
    } else {
      at++;
      if (code === 0x2b) code = 0x20;
    }
    if (code !== bytes.charCodeAt(i)) return false;
  }
  return at === end;
}

const isHex = (code: number): boolean =>
  (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x46) || (code >= 0x61 && code <= 0x66);

const escape = /%([0-9a-f]{2})/gi;
const isAscii = /^[\0-\x7f]*$/;
function decode(text: string): string {
  const raw = isAscii.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1');
  if (!raw.includes('%') && !raw.includes('+')) return raw;
  return raw
    .replaceAll('+', ' ')
    .replace(escape, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** The query without the parameters of a name. The rest stays as it is. */
export function withoutParameters(query: string, name: ParameterName): string {
  let rest = query;
  for (const { from, to } of parametersOf(query, name).reverse())
    rest = from > 0 ? rest.slice(0, from - 1) + rest.slice(to) : rest.slice(to + 1);
  return rest;
}
