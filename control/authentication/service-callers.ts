/** Callers that are programs of the mesh itself, neither nodes nor waypoints. No node's name has a colon. */
const prefix = 'service:';

/** Another replica of the control plane. It may read edges, and nothing else. */
export const controlCaller = `${prefix}control`;

/** Its service account, in its own namespace. */
export const controlAccount = 'weft-control';

/** Whether a caller is such a program. */
export const isService = (caller: string): boolean => caller.startsWith(prefix);
