type Kind = 'settings' | 'block';

/** The one timer of a connection: for the peer's SETTINGS first, then for incomplete header blocks. */
export class Deadline {
  #timer: NodeJS.Timeout | undefined;
  #kind: Kind = 'settings';

  constructor(private readonly onLate: (kind: Kind) => void) {}

  isArmed(kind: Kind): boolean {
    return this.#timer !== undefined && this.#kind === kind;
  }

  /** False: without a limit, or a timer is running; SETTINGS come first. */
  arm(kind: Kind, ms: number): boolean {
    if (ms === 0 || this.#timer) return false;
    this.#kind = kind;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.onLate(kind);
    }, ms);
    return true;
  }

  disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
