/** Seeded random generators (mulberry32), so that failures can be reproduced. */
function bitsOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}
/** Whole numbers from 0 to below the argument. */
export function randomOf(seed: number): (below: number) => number {
  const bits = bitsOf(seed);
  return (below) => bits() % below;
}
/** Numbers from 0 to below 1. */
export function fractionOf(seed: number): () => number {
  const bits = bitsOf(seed);
  return () => bits() / 2 ** 32;
}
