/** Parsers of command line options. */
import { InvalidArgumentError } from 'commander';

export const within =
  (min: number, max: number, whole: boolean) =>
  (text: string): number => {
    const value = Number(text);
    if (!(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
      throw new InvalidArgumentError(`${min} to ${max}${whole ? ', whole' : ''}`);
    }
    return value;
  };
