/** Builds subscriptions of the discovery client from a decoder and a function that applies its values. */
import { errorText, type Decoded } from '../base/errors.js';
import type { Subscription } from './client.js';
import type { ReadResult } from './codec/decoding.js';
import type { TypeUrl } from './types.js';

/** For resource types without a closed form: if a resource cannot be decoded, its previous version stays. */
export function keepOr<T>(
  decode: (bytes: Uint8Array) => Decoded<T>,
): (name: string, bytes: Uint8Array) => ReadResult<T> {
  return (_name, bytes) => {
    const decoded = decode(bytes);
    return decoded.ok
      ? { value: decoded.value, problems: [] }
      : { value: undefined, problems: decoded.errors };
  };
}

/** Builds a subscription. If `read` throws, which is a bug in it, only that resource is rejected. */
export function subscribe<T>(
  typeUrl: TypeUrl,
  read: (name: string, bytes: Uint8Array) => ReadResult<T>,
  apply: (value: T) => void,
  removed: Subscription['removed'],
): Subscription {
  return {
    typeUrl,
    removed,
    decode: (name, bytes) => {
      let reading: ReadResult<T>;
      try {
        reading = read(name, bytes);
      } catch (error) {
        reading = { value: undefined, problems: [errorText(error)] };
      }
      const { value, problems } = reading;
      if (value === undefined) return { ok: false, errors: problems, closedForm: undefined };
      return problems.length === 0
        ? { ok: true, value: () => apply(value) }
        : { ok: false, errors: problems, closedForm: () => apply(value) };
    },
  };
}
