/** Turns SIGINT and SIGTERM into an error, so that a program removes its testbed before it ends. */
import { WeftError } from '../../base/errors.js';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Interruption {
  /** Rejects with WEFT_INTERRUPTED at the first signal. Later signals are ignored. */
  readonly interrupted: Promise<never>;
  /** Restores the default effect of the signals. */
  release(): void;
}

/** @param effect text of the error after the name of the signal. */
export function interruption(effect: string): Interruption {
  let onSignal: (signal: NodeJS.Signals) => void = () => undefined;
  const interrupted = new Promise<never>((_resolve, reject) => {
    onSignal = (signal) => reject(new WeftError('WEFT_INTERRUPTED', `${signal}: ${effect}`));
  });
  // Avoids an unhandled rejection when a signal arrives while nothing awaits it.
  interrupted.catch(() => undefined);
  for (const signal of signals) process.on(signal, onSignal);
  return {
    interrupted,
    release: () => signals.forEach((signal) => process.removeListener(signal, onSignal)),
  };
}
