/**
 * Expressions for header values. A waypoint reads these byte by byte, so a character beyond ASCII is the bytes of its UTF-8 form there. Pure.
 */

const isAscii = (text: string): boolean => !/[^\0-\x7f]/.test(text);
const bytesOf = (char: string): string => Buffer.from(char, 'utf8').toString('latin1');

/**
 * The expression that matches the bytes of what `source` matches. Error: it has characters beyond ASCII where they cannot be written as bytes.
 * @param source of valid RE2 syntax
 */
export function byteRegex(source: string): string {
  if (isAscii(source)) return source;
  const refuse = (where: string): never => {
    throw new Error(`characters beyond ASCII are not supported ${where}: write alternatives, (a|b)`);
  };
  if (source.includes('\\Q')) refuse('in an expression with \\Q');
  // Bytes are no letters, so that they have no upper or lower case.
  if (/\(\?[a-zA-Z]*i/.test(source)) refuse('in an expression that ignores case');
  let bytes = '';
  const chars = [...source];
  for (let i = 0; i < chars.length; i++) {
    const char = chars[i] ?? '';
    if (char === '\\') bytes += char + (chars[++i] ?? '');
    else if (char === '[') {
      const end = classEnd(chars, i);
      const whole = chars.slice(i, end + 1).join('');
      if (!isAscii(whole)) refuse('in a class [...]');
      bytes += whole;
      i = end;
    } else bytes += isAscii(char) ? char : `(?:${bytesOf(char)})`;
  }
  return bytes;
}

/** The index of the bracket that closes a class. One in first position, or escaped, is a member; a named class ([:alpha:]) has its own. */
function classEnd(chars: readonly string[], start: number): number {
  let at = start + (chars[start + 1] === '^' ? 2 : 1);
  if (chars[at] === ']') at++;
  for (; at < chars.length && chars[at] !== ']'; at++) {
    if (chars[at] === '\\') at++;
    else if (chars[at] === '[' && chars[at + 1] === ':') {
      const named = chars.indexOf(']', at);
      if (named > at && chars[named - 1] === ':') at = named;
    }
  }
  return at;
}
