/**
 * Revoked join tokens: a file of the state directory, a JSON object per line, read again when it changes. On Kubernetes it is copied from
 * the Secret of the join key.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { JWTPayload } from 'jose';
import { errorText, WeftError } from '../../src/base/errors.js';
import { replaceFile } from '../replace-file.js';

/** In the state directory, and in the Secret. */
export const revocationsFile = 'revoked-tokens';
/** Beside it, where the list is copied from a Secret: what is written here would be lost. */
export const fromSecretFile = 'revoked-tokens.from-secret';
const linesMax = 100_000;

export type Revocation =
  | { readonly id: string }
  /** All of a node's or waypoint's tokens that were made by then (seconds since the epoch). */
  | { readonly subject: string; readonly beforeS: number };

export interface Revocations {
  readonly ids: ReadonlySet<string>;
  readonly before: ReadonlyMap<string, number>;
}

/** Error: WEFT_REVOCATIONS, with the line. A list that is read in part would let a revoked token in. Pure. */
export function parseRevocations(text: string): Revocations {
  const ids = new Set<string>();
  const before = new Map<string, number>();
  const lines = text.split('\n');
  if (lines.length > linesMax)
    throw new WeftError('WEFT_REVOCATIONS', `more than ${linesMax} revoked tokens`);
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
        `${revocationsFile}:${index + 1}: neither {"id"} nor {"subject","beforeS"}: correct it, until then no join token counts`,
      );
  }
  return { ids, before };
}

/** Where a subject has revoked tokens, its token without a time of issue counts as revoked. Pure. */
export function isRevoked({ ids, before }: Revocations, { jti, sub, iat }: JWTPayload): boolean {
  if (jti !== undefined && ids.has(jti)) return true;
  const beforeS = before.get(sub ?? '');
  return beforeS !== undefined && (iat === undefined || iat <= beforeS);
}

const read = new Map<string, { readonly stamp: string; readonly revocations: Revocations }>();

/** Error: WEFT_REVOCATIONS. No file: none is revoked. */
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

/** Takes effect at once for new calls, and within seconds for streams that are open. Errors: WEFT_REVOCATIONS, of the file system. */
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
