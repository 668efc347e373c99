/**
 * A limit of which nobody takes what others need. A member gets one more while it holds less than is free, its group while it holds less
 * than twice of what is free: alone a member gets half of the limit and a group two thirds; the more take part, the less each may hold,
 * and something is always left for who comes next (dynamic thresholds, as switches share their buffers: Choudhury and Hahne, 1998).
 */
export class FairLimit {
  readonly #members = new Map<string, number>();
  readonly #groups = new Map<string, number>();
  #size = 0;

  constructor(readonly max: number) {}

  get size(): number {
    return this.#size;
  }

  /** Undefined: taken, to be released once by the same names. Else what was reached: all of the limit, or the caller's share. */
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
