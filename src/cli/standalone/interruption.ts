/** Signals that ask a program with a testbed to end: the testbed is removed before the program ends. */
import { WeftError } from '../../base/errors.js';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Interruption {
  /** Rejects with WEFT_INTERRUPTED at the first of these signals; later ones are ignored. */
  readonly interrupted: Promise<never>;
  /** From then on the signals have their usual effect. */
  release(): void;
}

/** @param effect what the error says after the signal's name. */
export function interruption(effect: string): Interruption {
  let onSignal: (signal: NodeJS.Signals) => void = () => undefined;
  const interrupted = new Promise<never>((_resolve, reject) => {
    onSignal = (signal) => reject(new WeftError('WEFT_INTERRUPTED', `${signal}: ${effect}`));
  });
  // A signal may come while nobody awaits it.
  interrupted.catch(() => undefined);
  for (const signal of signals) process.on(signal, onSignal);
  return {
    interrupted,
    release: () => signals.forEach((signal) => process.removeListener(signal, onSignal)),
  };
}
