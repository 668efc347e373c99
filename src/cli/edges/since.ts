/** How far back commands look that read edges or changes. */
import { InvalidArgumentError, Option } from 'commander';
import { durationMsOf } from '../../model/duration.js';

/** Parses a duration. Error: InvalidArgumentError, for commander. */
export function durationMs(text: string): number {
  const ms = durationMsOf(text);
  if (ms === undefined || ms === 0) throw new InvalidArgumentError('not a duration such as 90s or 15m');
  return ms;
}

/** The option `--since` of commands that read edges. */
export const sinceOption = (defaultText: string): Option =>
  new Option('--since <duration>', 'how far back; at most 15m without --prometheus')
    .argParser(durationMs)
    .default(durationMs(defaultText), defaultText);
