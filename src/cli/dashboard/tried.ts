import { errorText } from '../../base/errors.js';
import { unread, type Reading } from './assemble.js';

/** A reading whose error is its reason. @param what is read */
export async function tried<T>(what: string, reading: Promise<Reading<T>>): Promise<Reading<T>> {
  try {
    return await reading;
  } catch (error) {
    return unread(`${what}: ${errorText(error)}`);
  }
}
