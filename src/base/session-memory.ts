/**
 * `maxSessionMemory` of every HTTP/2 session in megabytes: in effect no limit. Node counts data that waits to be written on a stream and
 * never subtracts it if the stream is reset first (observed in Node 20.20). A limit would be reached by the resets over a session's
 * lifetime and not by the memory in use; the session would then refuse all streams, also those of other clients. The memory of a session
 * is bounded by the number of streams, their windows, the size of header blocks, and writers that wait for 'drain'.
 */
export const sessionMegabytesMax = 4_000_000;
