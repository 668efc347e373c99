/**
 * Evaluates the regular expressions of policies. Those of each namespace have a time budget of their own, so that one namespace's expressions
 * cannot use up what others need.
 */
import type { RegexMatch } from '../model/policy.js';
import { Regex, RegexCost, RegexTime } from './regex.js';

const times = new Map<string, RegexTime>();
const compiled = new WeakMap<RegexMatch, Regex>();

function timeOf(namespace: string): RegexTime {
  let time = times.get(namespace);
  if (!time) times.set(namespace, (time = new RegexTime()));
  return time;
}

/**
 * Whether an expression matches the whole text. Undefined: that cannot be found out, within the time budget or at all.
 * @param namespace of the policy
 */
export function policyRegex(namespace: string, match: RegexMatch, text: string): boolean | undefined {
  let regex = compiled.get(match);
  if (!regex) compiled.set(match, (regex = new Regex(match.value, timeOf(namespace))));
  try {
    const found = regex.test(text);
    return regex.isReadable ? found : undefined;
  } catch (error) {
    if (error instanceof RegexCost) return undefined;
    throw error;
  }
}
