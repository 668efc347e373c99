/** One part of a turn: what fails in it is logged and tried again, and keeps nothing else from being done. */
import { errorText } from '../src/base/errors.js';

/** True where `work` did not fail. `text`: what the log says where it did. */
export type Attempt = (text: string, work: () => void) => boolean;

export const attemptWith =
  (log: { error(fields: object, text: string): void }): Attempt =>
  (text, work) => {
    try {
      work();
      return true;
    } catch (error) {
      log.error({ error: errorText(error) }, text);
      return false;
    }
  };
