/** Finds the known word that is closest to a mistyped word. Pure. */

/**
 * Edit distance (optimal string alignment): the number of insertions, deletions, substitutions and transpositions of neighbors that turn
 * `a` into `b`. If the distance exceeds `max`, the result is any number above `max`.
 */
export function editDistance(a: string, b: string, max: number): number {
  if (Math.abs(a.length - b.length) > max) return max + 1;
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min((last[j - 1] ?? 0) + (same ? 0 : 1), (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    if (Math.min(...row) > max) return max + 1;
    [before, last] = [last, row];
  }
  return last[b.length] ?? 0;
}

/** The closest word within `max` edits, ignoring case; undefined if there is none, or if `word` itself is among the words. */
export function nearest(word: string, words: Iterable<string>, max = 2): string | undefined {
  let found: string | undefined;
  let least = max + 1;
  for (const one of words) {
    if (one === word) return undefined;
    const distance = editDistance(word.toLowerCase(), one.toLowerCase(), max);
    if (distance < least) [found, least] = [one, distance];
  }
  return found;
}
