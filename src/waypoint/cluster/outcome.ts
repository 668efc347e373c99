/** How an attempt ended, as a cluster counts it. */

/**
 * `connected` and `connect-failed`: of a connection, reported once however many requests wait for it. `overflow`: a limit of the waypoint
 * refused the request. `reset`: it ended without a response. `timeout`: its response did not come in time. A number is the response's
 * status.
 */
export type Outcome = 'connected' | 'connect-failed' | 'overflow' | 'reset' | 'timeout' | number;
