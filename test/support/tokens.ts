/** Creates and reads join tokens with only text and subject. */
import { makeToken, readToken } from '../../control/authentication/join-tokens.js';

/** @param subject name of a node, or `waypoint:<namespace>/<name>` */
export async function issueToken(state: string, subject: string, ttlS: number): Promise<string> {
  return (await makeToken(state, { subject, ttlS })).token;
}

/** Result and errors as those of readToken. */
export async function subjectOfToken(state: string, token: string): Promise<string | undefined> {
  return (await readToken(state, token))?.subject;
}
