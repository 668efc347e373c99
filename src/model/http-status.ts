/** Which HTTP responses have content, by their status. */

/** Statuses of responses without content: No Content, Reset Content, Not Modified (RFC 9110, sections 15.3.5, 15.3.6, 15.4.5). */
const withoutContent: ReadonlySet<number> = new Set([204, 205, 304]);
/** Whether a response with this status may have content. */
export const mayHaveContent = (status: number): boolean => !withoutContent.has(status);
