/** Join tokens of nodes and waypoints: JWTs signed by a key of the state directory; the subject is who may ask by it. */
import { randomBytes, randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { decodeProtectedHeader, jwtVerify, SignJWT, type JWTPayload } from 'jose';
import { errorText, WeftError } from '../../src/base/errors.js';
import { replaceFile } from '../replace-file.js';
import { isRevoked, readRevocations } from './revocations.js';

/** Of a node's own token and of an agent's projected one. */
export const tokenAudience = 'istio-ca';
/** In the state directory. */
export const keyFile = 'token-key';
/** A node shows its token whenever it connects, so it has to be replaced in time: `weft token` again, into the same file. */
export const tokenTtlSDefault = 30 * 86_400;
const tokenBytesMax = 8192;

/** Of a key: with fewer, HS256 can be guessed (RFC 7518, 3.2). */
const keyBytesMin = 32;

/** Undefined where there is none. Errors: WEFT_TOKEN_KEY, where that cannot be said, or what is there is no key. */
function readKey(state: string): Uint8Array | undefined {
  const path = join(state, keyFile);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new WeftError('WEFT_TOKEN_KEY', `the key of join tokens cannot be read: ${errorText(error)}`, {
      retryable: true,
      cause: error,
    });
  }
  const key = Buffer.from(text, 'base64');
  if (key.length >= keyBytesMin) return key;
  throw new WeftError(
    'WEFT_TOKEN_KEY',
    `${path} holds ${key.length} bytes, ${keyBytesMin} are the least: restore it, or remove it and make all join tokens anew`,
  );
}

/** Makes it where there is none. Errors: WEFT_TOKEN_KEY, of the file system. */
function keyOf(state: string): Uint8Array {
  const present = readKey(state);
  if (present) return present;
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const path = join(state, keyFile);
  // Whole before it has its name; of two processes that start together, one gives it, and the other reads what is there.
  const beside = `${path}.${randomUUID()}`;
  try {
    replaceFile(beside, randomBytes(keyBytesMin).toString('base64'), 0o600);
    linkSync(beside, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(beside, { force: true });
  }
  return keyOf(state);
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
 * Whose a token is; undefined where it is not ours, expired, revoked or malformed. Errors: WEFT_TOKEN_KEY, WEFT_REVOCATIONS, where the
 * key or the list of revoked tokens cannot be read: nobody can say then.
 */
export async function readToken(state: string, token: string): Promise<JoinToken | undefined> {
  if (!isOurs(token)) return undefined;
  const key = readKey(state);
  if (!key) return undefined;
  let payload: JWTPayload;
  try {
    ({ payload } = await jwtVerify(token, key, { audience: tokenAudience, algorithms: ['HS256'] }));
  } catch {
    return undefined;
  }
  const { sub } = payload;
  if (sub === undefined || isRevoked(readRevocations(state), payload)) return undefined;
  const namespaces = namespacesOf(payload);
  return { subject: sub, ...(namespaces ? { namespaces } : {}) };
}
