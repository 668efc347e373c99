/** Bits of each octet's code; the last one is EOS (RFC 7541, appendix B). The code is canonical, so that the lengths define it. */
// prettier-ignore
export const huffmanBits = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
const eos = 256;
const bitsMin = 5;
const bitsMax = 30;

/** By the next 8 bits: length << 8 | symbol. 0: the code is longer. */
const short = new Uint16Array(256);
/** By length: the first code behind those of this length, aligned to the left of 30 bits; and what is added to a code to get its place in `ordered`. */
const codeEnd = new Int32Array(bitsMax + 1);
const codeShift = new Int32Array(bitsMax + 1);
/** Symbols in the order of their codes. */
const ordered = new Uint16Array(huffmanBits.length);

for (let bits = bitsMin, code = 0, place = 0; bits <= bitsMax; bits++, code <<= 1) {
  codeShift[bits] = place - code;
  huffmanBits.forEach((length, symbol) => {
    if (length !== bits) return;
    ordered[place++] = symbol;
    if (bits <= 8) short.fill((bits << 8) | symbol, code << (8 - bits), (code + 1) << (8 - bits));
    code++;
  });
  codeEnd[bits] = code << (bitsMax - bits);
}

/** The most bytes that this many encoded bytes can be. */
export function huffmanBytesMax(bytes: number): number {
  return Math.floor((bytes * 8) / bitsMin);
}

/**
 * Decodes `from[start..end)` to the start of `to`, which must be long enough (`huffmanBytesMax`).
 * Returns the number of bytes; -1 if the input is invalid (EOS, or a padding that is not a part of EOS below 8 bits).
 */
export function huffmanDecode(from: Uint8Array, start: number, end: number, to: Uint8Array): number {
  let length = 0;
  let bits = 0;
  let count = 0;
  for (let at = start; at < end; at++) {
    bits = ((bits << 8) | (from[at] as number)) & 0xffff;
    count += 8;
    while (count >= 8) {
      const entry = short[(bits >>> (count - 8)) & 0xff] as number;
      if (entry === 0) {
        const bit = at * 8 + 8 - count;
        const found = longCode(from, bit, end);
        // Too few bits are left: they can only be padding, and padding of 8 bits or more is invalid.
        if (found < 0) return -1;
        to[length++] = found & 0xff;
        const next = bit + (found >>> 8);
        at = (next - 1) >>> 3;
        count = (at + 1) * 8 - next;
        bits = from[at] as number;
        continue;
      }
      to[length++] = entry & 0xff;
      count -= entry >>> 8;
    }
  }
  while (count > 0) {
    const entry = short[((bits << (8 - count)) | (0xff >>> count)) & 0xff] as number;
    if (entry === 0 || entry >>> 8 > count) break;
    to[length++] = entry & 0xff;
    count -= entry >>> 8;
  }
  const padding = (1 << count) - 1;
  return (bits & padding) === padding ? length : -1;
}

/** The code of more than 8 bits at this bit: length << 8 | symbol. -1: there is none. */
function longCode(from: Uint8Array, bit: number, end: number): number {
  const at = bit >>> 3;
  let window = 0;
  // 37 bits are needed if the code starts at the last bit of a byte: the first byte's used bits are cut before the last byte is added.
  for (let i = 0; i < 4; i++) window = (window << 8) | (at + i < end ? (from[at + i] as number) : 0xff);
  const last = at + 4 < end ? (from[at + 4] as number) : 0xff;
  const used = bit & 7;
  window = (used === 0 ? window >>> 2 : ((window << used) | (last >>> (8 - used))) >>> 2) & 0x3fffffff;
  for (let length = 9; length <= bitsMax; length++) {
    if (window < (codeEnd[length] as number)) {
      if (bit + length > end * 8) return -1;
      const symbol = ordered[(window >>> (bitsMax - length)) + (codeShift[length] as number)] as number;
      return symbol === eos ? -1 : (length << 8) | symbol;
    }
  }
  return -1;
}
