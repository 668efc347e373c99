/** Who observed: the agent of the client, the agent of the server, or the waypoint between them. The page reads it, which has no types of Node.js. */
export type EdgeReporter = 'source' | 'destination' | 'waypoint';
