/** What the decoders of this folder share: results, and checks of single fields. */
import { errorText, type Decoded } from '../../base/errors.js';
import { ipToBytes, type IpAddress } from '../../model/address.js';

/** A resource as far as this version understands it. */
export interface ReadResult<T> {
  /** To be applied: what is not understood is closed in it. Undefined: what was known before stays. */
  readonly value: T | undefined;
  /** What is not understood. */
  readonly problems: readonly string[];
}

/** The value alone, or why there is none that is understood as a whole. */
export function strict<T>({ value, problems }: ReadResult<T>): Decoded<T> {
  return value !== undefined && problems.length === 0 ? { ok: true, value } : { ok: false, errors: problems };
}

/** A throw as errors. */
export function attempt<T>(decode: () => T): Decoded<T> {
  try {
    return { ok: true, value: decode() };
  } catch (error) {
    return { ok: false, errors: [errorText(error)] };
  }
}

/** The elements that `read` does not throw for. */
export const readable = <T, U>(list: readonly T[], read: (one: T) => U): U[] =>
  list.flatMap((one) => {
    const decoded = attempt(() => read(one));
    return decoded.ok ? [decoded.value] : [];
  });

/** Throws where the field is empty. */
export function need(value: string, field: string): string {
  if (value === '') throw new Error(`${field} is empty`);
  return value;
}

/** Throws where it is out of range. */
export function portNumber(value: number): number {
  if (value < 1 || value > 65535) throw new Error(`port ${value} is out of range`);
  return value;
}

/** Throws for a kind of a later version: passed over, the resource would mean something else than it says. */
export function oneOf<T extends string>(kinds: readonly T[], kind: string, field: string): T {
  const found = kinds.find((one) => one === kind);
  if (found === undefined) throw new Error(`${field} of unknown kind ${JSON.stringify(kind.slice(0, 64))}`);
  return found;
}

/** The fields that are set: protobuf's default (an empty text, 0) stands for none. */
export const present = <T extends Readonly<Record<string, string | number>>>(fields: T): Partial<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== '' && value !== 0)) as Partial<T>;

/** The inverse of a table of enumeration numbers. */
export const namesOf = <K extends string>(numbers: Readonly<Record<K, number>>): ReadonlyMap<number, K> =>
  new Map(Object.entries<number>(numbers).map(([name, number]) => [number, name as K]));

export const bytesOf = (ip: IpAddress): Buffer => Buffer.from(ipToBytes(ip));
