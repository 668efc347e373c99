import { InvalidArgumentError } from 'commander';

/** Parses an option that is a number of seconds. Error: InvalidArgumentError. */
export function seconds(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a whole number of seconds above 0.');
}
