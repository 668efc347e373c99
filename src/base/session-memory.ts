/**
 * `maxSessionMemory` of every HTTP/2 session, in megabytes: no limit in effect. Node counts what waits on a stream to be written, and never
 * takes it back where the stream is reset first (seen in Node 20.20). A limit would be reached by the resets of a session's lifetime, not
 * by what it holds: from then on the session refuses all streams, those of other clients as well. What a session holds is bounded by
 * its number of streams, their windows, the size of header blocks, and writers that wait for 'drain'.
 */
export const sessionMegabytesMax = 4_000_000;
