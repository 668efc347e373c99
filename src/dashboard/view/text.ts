/** Names and reasons come from objects of others: what would not be seen, or would reorder the text beside it, is made visible. Pure. */

/** Control characters, format characters (bidi overrides, zero-width), line and paragraph separators, and lone surrogates. */
const invisible = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** The text with each such character as ‹U+202E›. */
export const visibleText = (text: string): string =>
  text.replace(
    invisible,
    (found) => `‹U+${(found.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}›`,
  );

/** At most `max` characters. The middle is cut, because names often differ at their ends. */
export function cutText(text: string, max: number): string {
  const characters = [...text];
  if (characters.length <= max) return text;
  const end = Math.floor((max - 1) / 3);
  return `${characters.slice(0, max - 1 - end).join('')}…${end === 0 ? '' : characters.slice(-end).join('')}`;
}

/** Whether one of the parts contains the text, in any case of letters. An empty text is in all. */
export function hasText(parts: readonly (string | undefined)[], text: string): boolean {
  const wanted = text.trim().toLowerCase();
  return wanted === '' || parts.some((part) => part?.toLowerCase().includes(wanted));
}
