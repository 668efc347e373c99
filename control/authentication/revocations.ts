/**
 * Revoked join tokens: a file in the state directory with one JSON object per line, read again when it changes. On Kubernetes it is copied
 * from the Secret of the join key.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { JWTPayload } from 'jose';
import { errorText, WeftError } from '../../src/base/errors.js';
import { replaceFile } from '../replace-file.js';

/** Name of the file in the state directory, and of the key in the Secret. */
export const revocationsFile = 'revoked-tokens';
/** Marks a list that is copied from a Secret: the next copy would overwrite a local change. Holds the name of the Secret. */
export const fromSecretFile = 'revoked-tokens.from-secret';
const linesMax = 100_000;

export type Revocation =
  | { readonly id: string }
  /** All tokens of a node or waypoint that were issued up to this time (seconds since the epoch). */
  | { readonly subject: string; readonly beforeS: number };

export interface Revocations {
  readonly ids: ReadonlySet<string>;
  readonly before: ReadonlyMap<string, number>;
}

/** Parses the list. Error: WEFT_REVOCATIONS, with the line: a partly read list would accept a revoked token. Pure. */
export function parseRevocations(text: string): Revocations {
  const ids = new Set<string>();
  const before = new Map<string, number>();
  const lines = text.split('\n');
  if (lines.length > linesMax)
    throw new WeftError(
      'WEFT_REVOCATIONS',
      `${revocationsFile} has more than ${linesMax} lines: remove those of expired tokens`,
    );
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue;
    let entry: { id?: unknown; subject?: unknown; beforeS?: unknown } | null;
    try {
      entry = JSON.parse(line) as typeof entry;
    } catch {
      entry = null;
    }
    if (typeof entry?.id === 'string') ids.add(entry.id);
    else if (typeof entry?.subject === 'string' && typeof entry.beforeS === 'number')
      before.set(entry.subject, Math.max(entry.beforeS, before.get(entry.subject) ?? 0));
    else
      throw new WeftError(
        'WEFT_REVOCATIONS',
        `${revocationsFile}:${index + 1}: neither {"id"} nor {"subject","beforeS"}: correct the line; until then every join token is refused`,
      );
  }
  return { ids, before };
}

/** Whether a token is revoked. If its subject has revoked tokens, a token without a time of issue is treated as revoked. Pure. */
export function isRevoked({ ids, before }: Revocations, { jti, sub, iat }: JWTPayload): boolean {
  if (jti !== undefined && ids.has(jti)) return true;
  const beforeS = before.get(sub ?? '');
  return beforeS !== undefined && (iat === undefined || iat <= beforeS);
}

const read = new Map<string, { readonly stamp: string; readonly revocations: Revocations }>();

/** Reads the list; an empty one if there is no file. Error: WEFT_REVOCATIONS. */
export function readRevocations(state: string): Revocations {
  const path = join(state, revocationsFile);
  try {
    const { mtimeMs, size, ino } = statSync(path);
    const stamp = `${mtimeMs} ${size} ${ino}`;
    const known = read.get(path);
    if (known?.stamp === stamp) return known.revocations;
    const revocations = parseRevocations(readFileSync(path, 'utf8'));
    read.set(path, { stamp, revocations });
    return revocations;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { ids: new Set(), before: new Map() };
    if (error instanceof WeftError) throw error;
    throw new WeftError('WEFT_REVOCATIONS', `the list of revoked tokens cannot be read: ${errorText(error)}`);
  }
}

/** Adds a revocation. It takes effect at once for new calls, and within seconds for open streams. Errors: WEFT_REVOCATIONS, those of the file system. */
export function revoke(state: string, revocation: Revocation): void {
  const path = join(state, revocationsFile);
  if (existsSync(join(state, fromSecretFile)))
    throw new WeftError(
      'WEFT_REVOCATIONS',
      `the list is copied from a Secret: add the line ${JSON.stringify(revocation)} to ${revocationsFile} of the Secret ${readFileSync(join(state, fromSecretFile), 'utf8')}`,
    );
  readRevocations(state);
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const line = `${JSON.stringify(revocation)}\n`;
  replaceFile(path, text === '' || text.endsWith('\n') ? text + line : `${text}\n${line}`, 0o600);
}
