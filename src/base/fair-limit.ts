/**
 * A limit that is shared fairly. A member may take one more while it holds less than the free amount, its group while it holds less than
 * twice the free amount. A single member therefore gets half of the limit and a single group two thirds. The more members take part, the
 * less each may hold, and something always remains for newcomers (dynamic thresholds, as switches share buffers: Choudhury and Hahne,
 * 1998).
 */
export class FairLimit {
  readonly #members = new Map<string, number>();
  readonly #groups = new Map<string, number>();
  #size = 0;

  constructor(
    /** The limit. A lower one takes nothing back: no one takes more until enough was released. */
    public max: number,
  ) {}

  /** How many are taken. */
  get size(): number {
    return this.#size;
  }

  /**
   * Takes one. Undefined: taken; the caller releases it once with the same names. Otherwise what is used up: the whole limit (`all`) or
   * the share of the member or group (`share`).
   */
  take(member: string, group = member): 'all' | 'share' | undefined {
    const free = this.max - this.#size;
    if (free <= 0) return 'all';
    const ofMember = this.#members.get(member) ?? 0;
    const ofGroup = this.#groups.get(group) ?? 0;
    if (ofMember >= free || ofGroup >= 2 * free) return 'share';
    this.#members.set(member, ofMember + 1);
    this.#groups.set(group, ofGroup + 1);
    this.#size++;
    return undefined;
  }

  release(member: string, group = member): void {
    this.#size--;
    lower(this.#members, member);
    lower(this.#groups, group);
  }
}

function lower(counts: Map<string, number>, key: string): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left > 0) counts.set(key, left);
  else counts.delete(key);
}
