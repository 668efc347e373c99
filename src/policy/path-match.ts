/**
 * Matches a configured path against the readings of a request's path. The same reader reads both: for an endpoint that decodes escapes,
 * `/a%20b` is `/a b`; for an endpoint that ignores parameters, `/a;v=1` is `/a` both in the policy and in the request.
 */
import type { PolicyPath, RegexMatch } from '../model/policy.js';
import { placeholders, readingsOf, readsAlike } from './path.js';

/** `segment-prefix`: a prefix from whose last segment a reader has removed parameters. It must end at a segment boundary. */
type Form = PolicyPath | { readonly kind: 'segment-prefix'; readonly value: string };

const known = new WeakMap<PolicyPath, readonly Form[]>();

/** The configured path as read by each reader, in the order of `readingsOf`; a single form if all readers agree. */
function formsOf(path: PolicyPath): readonly Form[] {
  let forms = known.get(path);
  if (!forms) known.set(path, (forms = makeForms(path)));
  return forms;
}

function makeForms(path: PolicyPath): readonly Form[] {
  const { segment, rest } = placeholders;
  if (path.kind === 'template') {
    const text = path.segments.map((one) => (one === '*' ? segment : one === '**' ? rest : one)).join('/');
    if (readsAlike(text)) return [path];
    return readingsOf(`/${text}`).map((read) => ({
      kind: 'template',
      segments: read
        .slice(1)
        .split('/')
        .map((one) => (one === segment ? '*' : one === rest ? '**' : one)),
    }));
  }
  const { kind, value } = path;
  // An expression is matched against what each reader reads.
  if (kind === 'regex' || readsAlike(value)) return [path];
  switch (kind) {
    case 'exact':
      return readingsOf(value).map((read) => ({ kind, value: read }));
    case 'prefix':
      return readingsOf(`${value}${rest}`).map((read) =>
        read.endsWith(rest) ? { kind, value: read.slice(0, -1) } : { kind: 'segment-prefix', value: read },
      );
    case 'suffix':
      return readingsOf(`/${rest}${value}`).map((read) => ({
        kind,
        value: read.slice(read.indexOf(rest) + 1),
      }));
  }
}

/** Matches an expression against a text. */
export type MatchRegex = (match: RegexMatch, text: string) => boolean;

/** Whether the configured path matches the request's path for at least one reader. `readings`: the result of `readingsOf`. */
export function someReaderMatches(
  path: PolicyPath,
  readings: readonly string[],
  matchRegex: MatchRegex,
): boolean {
  const forms = formsOf(path);
  return readers(forms, readings).some((i) => matches(at(forms, i), at(readings, i), matchRegex));
}

/** Whether the configured path matches the request's path for every reader. */
export function everyReaderMatches(
  path: PolicyPath,
  readings: readonly string[],
  matchRegex: MatchRegex,
): boolean {
  const forms = formsOf(path);
  return readers(forms, readings).every((i) => matches(at(forms, i), at(readings, i), matchRegex));
}

const at = <T>(list: readonly T[], i: number): T => list[list.length === 1 ? 0 : i] as T;

const distinct = new WeakMap<readonly string[], readonly number[]>();
/** Indexes of the readers to evaluate. If all readers agree on the configured path, one reader per distinct reading suffices. */
function readers(forms: readonly Form[], readings: readonly string[]): readonly number[] {
  if (forms.length > 1) return forms.map((_, i) => i);
  if (readings.length === 1) return [0];
  let found = distinct.get(readings);
  if (!found) {
    found = [...new Map(readings.map((reading, i) => [reading, i])).values()];
    distinct.set(readings, found);
  }
  return found;
}

function matches(match: Form, path: string, matchRegex: MatchRegex): boolean {
  switch (match.kind) {
    case 'regex':
      return matchRegex(match, path);
    case 'exact':
      return path === match.value;
    case 'prefix':
      return path.startsWith(match.value);
    case 'segment-prefix': {
      const { value } = match;
      return path === value || path.startsWith(value.endsWith('/') ? value : `${value}/`);
    }
    case 'suffix':
      return path.endsWith(match.value);
    case 'template': {
      const segments = path.slice(1).split('/');
      for (const [i, wanted] of match.segments.entries()) {
        if (wanted === '**') return true;
        const segment = segments[i];
        if (segment === undefined || (wanted === '*' ? segment === '' : segment !== wanted)) return false;
      }
      return segments.length === match.segments.length;
    }
  }
}
