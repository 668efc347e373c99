import { InvalidArgumentError } from 'commander';

/** A number of seconds in an option. Error: InvalidArgumentError. */
export function seconds(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It is a whole number of seconds above 0.');
}
