import { Duplex } from 'node:stream';

class End extends Duplex {
  peer: End | undefined;
  override _read(): void {
    // The peer pushes.
  }
  override _write(bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.peer?.destroyed === false) this.peer.push(bytes);
    done();
  }
  override _final(done: () => void): void {
    if (this.peer?.destroyed === false) this.peer.push(null);
    done();
  }
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { peer } = this;
    this.peer = undefined;
    setImmediate(() => peer?.destroy());
    done(error);
  }
}

/** Two ends of a connection in memory, without limits: for a single request head. */
export function memoryStreams(): readonly [Duplex, Duplex] {
  const [near, far] = [new End(), new End()];
  near.peer = far;
  far.peer = near;
  for (const end of [near, far]) end.on('error', () => undefined);
  return [near, far];
}
