/** Join tokens by their text and their subject alone. */
import { makeToken, readToken } from '../../control/authentication/join-tokens.js';

/** @param subject a node's name, or `waypoint:<namespace>/<name>` */
export async function issueToken(state: string, subject: string, ttlS: number): Promise<string> {
  return (await makeToken(state, { subject, ttlS })).token;
}

/** Undefined and errors as of readToken. */
export async function subjectOfToken(state: string, token: string): Promise<string | undefined> {
  return (await readToken(state, token))?.subject;
}
