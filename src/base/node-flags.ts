/**
 * Node.js flags of the processes that serve traffic: agents, and workers of waypoints. Most of their objects die young, with the
 * connection or request: with a young generation that fits in a CPU's cache, a process takes less memory than with Node's default
 * (16 MB per semi-space), and no more CPU time (docs/benchmarks.md). The chart's agents have the same (daemonset/chart).
 */
export const servingNodeFlags: readonly string[] = ['--max-semi-space-size=2'];
