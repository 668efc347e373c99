/** Who observed: the agent of the client, the agent of the server, or the waypoint between them. The page reads it, which has no types of Node.js. */
export const edgeReporters = ['source', 'destination', 'waypoint'] as const;
export type EdgeReporter = (typeof edgeReporters)[number];
