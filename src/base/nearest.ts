/** The known word that a mistyped one is nearest to. Pure. */

/**
 * Edit distance (optimal string alignment): insertions, deletions, substitutions and exchanges of neighbors that make `b` of `a`. Where it is
 * above `max`, any number above `max`.
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

/** The word that is at most `max` edits away, upper and lower case alike; undefined where there is none, or it is the word itself. */
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
