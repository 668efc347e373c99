/** What the tests of shared memory and their child processes agree on. */
export const childLayout = { slots: 1_024, wordsPerRow: 4, workers: 2 };
export const childSecret = 'a secret';
export const hammerTimes = 200_000;
