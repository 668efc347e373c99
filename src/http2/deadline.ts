type Kind = 'settings' | 'block';

/** The one timer of a connection: for the peer's SETTINGS first, then for incomplete header blocks. */
export class Deadline {
  #timer: NodeJS.Timeout | undefined;
  #kind: Kind = 'settings';

  constructor(private readonly onLate: (kind: Kind) => void) {}

  isArmed(kind: Kind): boolean {
    return this.#timer !== undefined && this.#kind === kind;
  }

  /** A timer of the other kind goes on instead: SETTINGS come first. */
  arm(kind: Kind, ms: number): void {
    if (ms === 0 || this.#timer) return;
    this.#kind = kind;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.onLate(kind);
    }, ms);
  }

  disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
