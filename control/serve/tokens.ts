/** Join tokens of nodes and waypoints: JWTs signed by a key of the state directory; the subject is who may ask by it. */
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeProtectedHeader, jwtVerify, SignJWT, type JWTPayload } from 'jose';
import { isRevoked, readRevocations } from './revocations.js';

/** Of a node's own token and of an agent's projected one. */
export const tokenAudience = 'istio-ca';
/** In the state directory. */
export const keyFile = 'token-key';
/** A node shows its token whenever it connects, so it has to be replaced in time: `weft token` again, into the same file. */
export const tokenTtlSDefault = 30 * 86_400;
const tokenBytesMax = 8192;

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

export interface TokenRequest {
  /** A node's name, or `waypoint:<namespace>/<name>`. */
  readonly subject: string;
  /** Seconds. */
  readonly ttlS: number;
  /** Namespaces whose pods' identities the bearer may ask for; absent: all that have pods on the node. */
  readonly namespaces?: readonly string[];
}

/**
 * A token, with the id by which it can be revoked alone: a node's is its right to ask for its pods' identities, a waypoint's to ask for its
 * own.
 */
export async function makeToken(
  state: string,
  { subject, ttlS, namespaces }: TokenRequest,
): Promise<{ readonly token: string; readonly id: string }> {
  const id = randomUUID();
  const token = await new SignJWT(namespaces ? { namespaces } : {})
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(subject)
    .setAudience(tokenAudience)
    .setJti(id)
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + ttlS)
    .sign(keyOf(state));
  return { token, id };
}

export interface JoinToken {
  readonly subject: string;
  /** Absent: all. */
  readonly namespaces?: readonly string[];
}

/** Whether this looks like a token of ours, by its header alone: those of service accounts are signed by other means. */
function isOurs(token: string): boolean {
  if (token.length > tokenBytesMax) return false;
  try {
    return decodeProtectedHeader(token).alg === 'HS256';
  } catch {
    return false;
  }
}

function namespacesOf({ namespaces }: JWTPayload): readonly string[] | undefined {
  if (namespaces === undefined) return undefined;
  // Malformed: it allows nothing.
  return Array.isArray(namespaces) ? namespaces.filter((one) => typeof one === 'string') : [];
}

/**
 * Whose a token is; undefined where it is not ours, expired, revoked or malformed. Errors: WEFT_REVOCATIONS, where the list of
 * revoked tokens cannot be read: nobody can say then.
 */
export async function readToken(state: string, token: string): Promise<JoinToken | undefined> {
  if (!isOurs(token)) return undefined;
  let payload: JWTPayload;
  try {
    ({ payload } = await jwtVerify(token, keyOf(state), { audience: tokenAudience, algorithms: ['HS256'] }));
  } catch {
    return undefined;
  }
  const { sub } = payload;
  if (sub === undefined || isRevoked(readRevocations(state), payload)) return undefined;
  const namespaces = namespacesOf(payload);
  return { subject: sub, ...(namespaces ? { namespaces } : {}) };
}
