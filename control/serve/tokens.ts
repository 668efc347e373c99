/** Join tokens of nodes and waypoints: JWTs signed by a key of the state directory; the subject is who may ask by it. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jwtVerify, SignJWT } from 'jose';

/** Of a node's own token and of an agent's projected one. */
export const tokenAudience = 'istio-ca';
/** In the state directory. */
export const keyFile = 'token-key';

function keyOf(state: string): Uint8Array {
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const path = join(state, keyFile);
  if (!existsSync(path)) {
    try {
      // wx: of two processes that start together, one makes the key and the other reads it.
      writeFileSync(path, randomBytes(32).toString('base64'), { mode: 0o600, flag: 'wx' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  return Buffer.from(readFileSync(path, 'utf8'), 'base64');
}

/**
 * `ttlS` seconds; a node's token is its right to ask for its pods' identities, a waypoint's (`waypoint:<namespace>/<name>`) to ask
 * for its own.
 */
export async function issueToken(state: string, subject: string, ttlS: number): Promise<string> {
  return new SignJWT({})
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(subject)
    .setAudience(tokenAudience)
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + ttlS)
    .sign(keyOf(state));
}

/** The node or waypoint that a token names; undefined where it is not ours, expired or malformed. */
export async function subjectOfToken(state: string, token: string): Promise<string | undefined> {
  if (token.length > 8192) return undefined;
  try {
    const { payload } = await jwtVerify(token, keyOf(state), {
      audience: tokenAudience,
      algorithms: ['HS256'],
    });
    return payload.sub;
  } catch {
    return undefined;
  }
}
