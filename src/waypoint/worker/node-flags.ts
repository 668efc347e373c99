/**
 * Node.js flags of a worker's process. Most objects of a request die young: with a young generation that fits in a CPU's cache, a worker
 * takes less memory than with Node's default (16 MB per semi-space), and no more CPU time (docs/benchmarks.md).
 */
export const workerNodeFlags: readonly string[] = ['--max-semi-space-size=2'];
