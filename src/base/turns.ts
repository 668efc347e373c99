/** Limits how many calls are under way at the same time; a limited number of others wait, the first come first. */
export interface TurnLimits {
  readonly underWayMax: number;
  readonly waitingMax: number;
}

export class Turns {
  #underWay = 0;
  readonly #waiting: (() => void)[] = [];

  /** @param tooMany the error of a call that may not wait; may count it */
  constructor(
    private readonly limits: TurnLimits,
    private readonly tooMany: () => Error,
  ) {}

  /** Calls when it is its turn. Errors: those of `call`, and that of `tooMany`. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#underWay >= this.limits.underWayMax) {
      if (this.#waiting.length >= this.limits.waitingMax) throw this.tooMany();
      // A finished call passes its slot to the next waiting one, so the count stays the same.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#underWay++;
    try {
      return await call();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#underWay--;
    }
  }
}
