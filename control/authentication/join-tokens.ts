/** Join tokens of nodes and waypoints: JWTs signed with a key in the state directory. The subject is the node or waypoint. */
import { randomBytes, randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { decodeProtectedHeader, jwtVerify, SignJWT, type JWTPayload } from 'jose';
import { errorText, WeftError } from '../../src/base/errors.js';
import { replaceFile } from '../replace-file.js';
import { isRevoked, readRevocations } from './revocations.js';

/** Audience of join tokens and of the projected service account tokens of agents and waypoints. */
export const tokenAudience = 'istio-ca';
/** File name of the signing key in the state directory. */
export const keyFile = 'token-key';
/**
 * Default lifetime of a join token, in seconds. A node presents its token on every connection, so the token has to be replaced before it
 * expires: run `weft token` again, into the same file.
 */
export const tokenTtlSDefault = 30 * 86_400;
const tokenBytesMax = 8192;

/** Minimum length of the key: HS256 needs at least 256 bits (RFC 7518, 3.2). A shorter key can be guessed. */
const keyBytesMin = 32;

/** Reads the key; undefined if there is none. Error: WEFT_TOKEN_KEY, if the file cannot be read or its key is too short. */
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
    `${path} has a key of ${key.length} bytes, at least ${keyBytesMin} are needed: restore the file, or remove it and create all join tokens again`,
  );
}

/** Reads the key, and creates it if there is none. Errors: WEFT_TOKEN_KEY, those of the file system. */
function keyOf(state: string): Uint8Array {
  const present = readKey(state);
  if (present) return present;
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const path = join(state, keyFile);
  // The file is complete before it gets its name. Of two processes that start together, one links its file and the other reads that one.
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
  /** Lifetime in seconds. */
  readonly ttlS: number;
  /** Namespaces whose pods' identities the bearer may request; absent: all that have pods on the node. */
  readonly namespaces?: readonly string[];
}

/**
 * Creates a token. Returns it with its id, by which it can be revoked individually. A node's token permits requests for the identities of
 * its pods, a waypoint's token for the waypoint's own identity. Errors: WEFT_TOKEN_KEY, those of the file system.
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
  /** Namespaces whose identities the bearer may request; absent: all. */
  readonly namespaces?: readonly string[];
}

/** Whether the header is that of a join token. Service account tokens have other signature algorithms. */
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
  // A malformed list allows no namespace.
  return Array.isArray(namespaces) ? namespaces.filter((one) => typeof one === 'string') : [];
}

/**
 * Verifies a token and returns its subject; undefined if it is not a join token of this mesh, or is expired, revoked or malformed. Errors:
 * WEFT_TOKEN_KEY, WEFT_REVOCATIONS, if the key or the list of revoked tokens cannot be read, so that the token cannot be verified.
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
