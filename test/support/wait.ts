/** Waiting for what happens elsewhere: `until` polls, and fails naming what did not come. */
export { sleep, until } from '../../src/cli/run.js';
