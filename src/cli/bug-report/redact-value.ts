/** Removes secrets from values of JSON: by the names of fields, and in every string by its text. Pure. */
import { createHmac } from 'node:crypto';
import { isRecord } from '../../base/record.js';
import { redactText, redacted } from './redact-text.js';

const depthMax = 64;

/** Fields whose strings are secret, wherever they are. The single letters are private members of a JSON Web Key. */
const secretKey =
  /(?:pass(?:word|wd|phrase)|secret|token|credential|(?:secret|private|access|api|signing|encryption|shared)[-_]?key)s?$|^(?:proxy-?|x-forwarded-)?authorization$|^(?:set-)?cookies?2?$|^(?:k|d|p|q|dp|dq|qi|oth)$/i;
/** Values of headers may be credentials of any form. Names of headers are not secret. */
const headerKey = /header/i;
/** Members of `{name, value}` that are no values. */
const besideValue: ReadonlySet<string> = new Set(['name', 'type', 'kind']);

type Context = 'plain' | 'header' | 'secret';

/**
 * Replaces secrets in values.
 * @param mark replaces a header's value, see `markWith`
 */
export function redactValue(value: unknown, mark: (secret: string) => string): unknown {
  const text = (one: string): string => {
    const parsed = /^\s*[[{]/.test(one) ? parsedJson(one) : undefined;
    return redactText(parsed === undefined ? one : JSON.stringify(walk(parsed, 'plain', depthMax / 2)));
  };
  const walk = (one: unknown, context: Context, depth: number): unknown => {
    if (depth > depthMax) return redacted;
    if (typeof one === 'string') {
      if (context === 'plain' || one === '') return text(one);
      return context === 'header' ? mark(one) : redacted;
    }
    if (typeof one === 'number' && context === 'secret') return redacted;
    if (Array.isArray(one)) return one.map((item: unknown) => walk(item, context, depth + 1));
    if (!isRecord(one)) return one;
    const below = contextsIn(one, context);
    return Object.fromEntries(
      Object.entries(one).map(([key, item]) => [redactText(key), walk(item, below(key, item), depth + 1)]),
    );
  };
  return walk(value, 'plain', 0);
}

/** The contexts of an object's members. */
function contextsIn(object: Readonly<Record<string, unknown>>, context: Context) {
  // {name, value} is a header, a query parameter or an environment variable; {key: request.headers[…], values} is a condition of Istio.
  const isPair = typeof object['name'] === 'string' && 'value' in object;
  const isCondition = typeof object['key'] === 'string' && /header|cookie/i.test(object['key']);
  return (key: string, item: unknown): Context => {
    if (context === 'secret' || secretKey.test(key)) return 'secret';
    if ((isPair && key === 'value') || (isCondition && /values$/i.test(key))) return 'header';
    if (context === 'plain') return headerKey.test(key) ? 'header' : 'plain';
    const isName = (isPair && besideValue.has(key)) || (key === 'remove' && Array.isArray(item));
    return isName || key === '$case' ? 'plain' : 'header';
  };
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Marks that are equal for equal values, so that a reader sees which header a route matches. Without `key`, which is not kept, nobody can
 * find a value by trying.
 */
export const markWith =
  (key: Buffer) =>
  (secret: string): string =>
    `[redacted ${createHmac('sha256', key).update(secret).digest('hex').slice(0, 8)}]`;

/** Redacts a log: lines of JSON by their fields, and all as text, since a private key has several lines. */
export function redactLog(log: string, mark: (secret: string) => string): string {
  const lines = log.split('\n').map((line) => {
    const parsed = /^\s*\{/.test(line) ? parsedJson(line) : undefined;
    return parsed === undefined ? line : JSON.stringify(redactValue(parsed, mark));
  });
  return redactText(lines.join('\n'));
}
