/** Shared by the decoders of this folder: result types and checks of single fields. */
import { errorText, type Decoded } from '../../base/errors.js';
import { ipToBytes, type IpAddress } from '../../model/address.js';

/** A decoded resource. Parts that this version does not know are closed in `value` and listed in `problems`. */
export interface ReadResult<T> {
  /** The resource to apply, with unknown parts closed. Undefined: the previous version of the resource stays. */
  readonly value: T | undefined;
  /** Parts that could not be decoded; empty if the resource was decoded completely. */
  readonly problems: readonly string[];
}

/** The value if it was decoded without problems, otherwise the problems. */
export function strict<T>({ value, problems }: ReadResult<T>): Decoded<T> {
  return value !== undefined && problems.length === 0 ? { ok: true, value } : { ok: false, errors: problems };
}

/** Converts a throw into a failed result. */
export function attempt<T>(decode: () => T): Decoded<T> {
  try {
    return { ok: true, value: decode() };
  } catch (error) {
    return { ok: false, errors: [errorText(error)] };
  }
}

/** The results for all elements for which `read` does not throw. */
export const readable = <T, U>(list: readonly T[], read: (one: T) => U): U[] =>
  list.flatMap((one) => {
    const decoded = attempt(() => read(one));
    return decoded.ok ? [decoded.value] : [];
  });

/** Throws if the field is empty. */
export function need(value: string, field: string): string {
  if (value === '') throw new Error(`${field} is empty`);
  return value;
}

/** Throws if the port is not in 1 to 65535. */
export function portNumber(value: number): number {
  if (value < 1 || value > 65535) throw new Error(`port ${value} is out of range`);
  return value;
}

/** Throws for a kind that this version does not know: ignoring it would change the meaning of the resource. */
export function oneOf<T extends string>(kinds: readonly T[], kind: string, field: string): T {
  const found = kinds.find((one) => one === kind);
  if (found === undefined) throw new Error(`${field} of unknown kind ${JSON.stringify(kind.slice(0, 64))}`);
  return found;
}

/** The fields that are set. Protobuf's defaults (an empty string, 0) count as not set. */
export const present = <T extends Readonly<Record<string, string | number>>>(fields: T): Partial<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== '' && value !== 0)) as Partial<T>;

/** Inverts a table of enumeration numbers. */
export const namesOf = <K extends string>(numbers: Readonly<Record<K, number>>): ReadonlyMap<number, K> =>
  new Map(Object.entries<number>(numbers).map(([name, number]) => [number, name as K]));

export const bytesOf = (ip: IpAddress): Buffer => Buffer.from(ipToBytes(ip));
