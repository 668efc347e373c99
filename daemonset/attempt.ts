/** One step of a pass: its failure is logged and retried later, and does not stop the other steps. */
import { errorText } from '../src/base/errors.js';

/** Runs `work`; true if it did not throw. If it threw, `text` is logged with the error. */
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
