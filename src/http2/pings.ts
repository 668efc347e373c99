/** PING frames that were sent and are not acknowledged yet. */
export class Pings {
  #calls: (() => void)[] = [];
  #acknowledged = 0;

  /** Registers a PING. Returns its payload: a serial number of 8 bytes. */
  add(onAck: () => void): Buffer {
    this.#calls.push(onAck);
    const opaque = Buffer.alloc(8);
    opaque.writeUInt32BE((this.#acknowledged + this.#calls.length) % 0x1_0000_0000, 4);
    return opaque;
  }

  /** False: the payload is not that of the oldest ping. */
  onAck(opaque: Buffer): boolean {
    if (this.#calls.length === 0) return false;
    if (opaque.readUInt32BE(4) !== (this.#acknowledged + 1) % 0x1_0000_0000) return false;
    this.#acknowledged++;
    this.#calls.shift()?.();
    return true;
  }

  clear(): void {
    this.#calls = [];
  }
}
