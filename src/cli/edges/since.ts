/** How far back commands look that read edges or changes. */
import { InvalidArgumentError, Option } from 'commander';
import { durationMsOf } from '../../model/duration.js';

/** Parses a duration. Error: InvalidArgumentError, for commander. */
export function durationMs(text: string): number {
  const ms = durationMsOf(text);
  if (ms === undefined || ms === 0) throw new InvalidArgumentError('not a duration such as 90s or 15m');
  return ms;
}

/** The option `--since`. @param more what else there is to know, in parentheses */
export const sinceOption = (more = ''): Option =>
  new Option('--since <duration>', `how far back, such as 10m${more}`).argParser(durationMs);

/** Of commands that can ask Prometheus. */
export const edgesSinceOption = (defaultText: string): Option =>
  sinceOption('; at most 15m without --prometheus').default(durationMs(defaultText), defaultText);
