/**
 * A fixed hash of text: MurmurHash3, 32 bits (https://github.com/aappleby/smhasher). Every process computes the same, so all workers and
 * replicas place a key alike. It protects against nothing: whoever chooses the text can choose the hash.
 */

/** The finalizer of MurmurHash3: each output bit depends on all input bits. */
export function mix32(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const scramble = (block: number): number => {
  const k = Math.imul(block, 0xcc9e2d51);
  return Math.imul((k << 15) | (k >>> 17), 0x1b873593);
};

/** The hash of a text in [0, 2^32). A character is one byte, as in header values; of others only the low 8 bits count. */
export function hash32(text: string, seed = 0): number {
  const { length } = text;
  const whole = length & ~3;
  let h = seed;
  for (let i = 0; i < whole; i += 4) {
    const block =
      (text.charCodeAt(i) & 0xff) |
      ((text.charCodeAt(i + 1) & 0xff) << 8) |
      ((text.charCodeAt(i + 2) & 0xff) << 16) |
      ((text.charCodeAt(i + 3) & 0xff) << 24);
    h ^= scramble(block);
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let i = length - 1; i >= whole; i--) tail = (tail << 8) | (text.charCodeAt(i) & 0xff);
  if (length > whole) h ^= scramble(tail);
  return mix32(h ^ length);
}
