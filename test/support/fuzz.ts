/** Random bytes for decoders. */
import { randomBytes, randomInt } from 'node:crypto';

const boxMs = 1_500;
/** A machine under load gets as far in a longer time. */
const roundsMin = 1_000;

/** Calls `decode` with random bytes and mutated seeds for {@link boxMs}, at least {@link roundsMin} times. Returns the number of calls. */
export function fuzz(seeds: readonly Uint8Array[], decode: (bytes: Uint8Array) => void): number {
  const end = Date.now() + boxMs;
  let rounds = 0;
  while (Date.now() < end || rounds < roundsMin) {
    const seed = seeds[randomInt(seeds.length)] ?? new Uint8Array();
    let bytes = Buffer.from(seed);
    for (let i = randomInt(6); i >= 0; i--) {
      const at = randomInt(bytes.length + 1);
      const kind = randomInt(4);
      if (kind === 0)
        bytes = Buffer.concat([bytes.subarray(0, at), randomBytes(randomInt(9)), bytes.subarray(at)]);
      else if (kind === 1) bytes = bytes.subarray(0, at);
      else if (kind === 2 && at < bytes.length) bytes[at] = randomInt(256);
      else
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          bytes.subarray(Math.min(bytes.length, at + randomInt(9))),
        ]);
    }
    decode(rounds % 5 === 0 ? randomBytes(randomInt(200)) : bytes);
    rounds++;
  }
  return rounds;
}
