/** Which delivery each response of one subscription has, until it is acknowledged. */

/** A reader that acknowledges nothing: a later acknowledgment stands for earlier ones, so the oldest may be forgotten. */
const unacknowledgedMax = 64;

export class Deliveries {
  readonly #sent: { readonly nonce: string; readonly delivery: number }[] = [];

  /** A response with this nonce was sent; it has everything up to this delivery. */
  sent(nonce: string, delivery: number): void {
    this.#sent.push({ nonce, delivery });
    if (this.#sent.length > unacknowledgedMax) this.#sent.shift();
  }

  /** The delivery that an acknowledgment confirms; undefined if no response has this nonce. */
  acknowledged(nonce: string): number | undefined {
    const at = this.#sent.findIndex((one) => one.nonce === nonce);
    return at < 0 ? undefined : this.#sent.splice(0, at + 1)[at]?.delivery;
  }
}
