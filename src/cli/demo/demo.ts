import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorText, WeftError } from '../../base/errors.js';
import { isAlive } from '../run.js';
import { readLedger } from '../standalone/ledger.js';
import { Testbed, tearDown } from '../standalone/testbed.js';
import { Stage } from './stage.js';
import { steps } from './steps.js';

export interface StepResult {
  readonly name: string;
  readonly ok: boolean;
  readonly evidence: Record<string, unknown>;
}

const state = '/run/weft/demo';

/** Removes what a demo left that was killed; a demo that is at it is left alone. */
async function clearStage(): Promise<void> {
  const owner = readLedger(state)?.owner;
  if (owner && isAlive(owner)) {
    throw new WeftError(
      'WEFT_BED_EXISTS',
      `another demo is running (process ${owner.pid}): wait for its end`,
    );
  }
  await tearDown(state);
}

/** Rejects at the first signal that asks to end; `release` gives the signals back. */
function interruption(): { interrupted: Promise<never>; release: () => void } {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  let onSignal: (signal: NodeJS.Signals) => void = () => undefined;
  const interrupted = new Promise<never>((_resolve, reject) => {
    onSignal = (signal) => reject(new WeftError('WEFT_INTERRUPTED', `${signal}: the demo ends here`));
  });
  // It may come while nobody races against it.
  interrupted.catch(() => undefined);
  for (const signal of signals) process.on(signal, onSignal);
  return {
    interrupted,
    release: () => signals.forEach((signal) => process.removeListener(signal, onSignal)),
  };
}

/** Runs all steps on a testbed of its own and takes it away again. `say`: the narration. Never rejects. */
export async function runDemo(say: (line: string) => void): Promise<{ ok: boolean; steps: StepResult[] }> {
  const results: StepResult[] = [];
  const fail = (name: string, error: unknown): void => {
    results.push({ name, ok: false, evidence: { error: errorText(error) } });
    say(`    FAILED: ${errorText(error)}`);
  };
  const { interrupted, release } = interruption();
  let stage: Stage | undefined;
  try {
    await clearStage();
  } catch (error) {
    release();
    fail('setup', error);
    return { ok: false, steps: results };
  }
  try {
    say(
      'Making two nodes and seven pods as network namespaces, starting a control plane and an agent per node ...',
    );
    mkdirSync(state, { recursive: true, mode: 0o700 });
    const manifests = join(state, 'manifests');
    cpSync(join(dirname(fileURLToPath(import.meta.url)), 'manifests'), manifests, { recursive: true });
    const testbed = Testbed.create({ from: manifests, state });
    stage = new Stage(testbed, manifests, state);
    stage.startApplications();
    await Promise.race([testbed.up(), interrupted]);
    for (const [index, step] of steps.entries()) {
      say('');
      say(`${String(index + 1).padStart(2)}. ${step.title}`);
      try {
        const evidence = await Promise.race([step.run(stage), interrupted]);
        results.push({ name: step.name, ok: true, evidence });
        say(`    ok: ${step.tell(evidence)}`);
      } catch (error) {
        fail(step.name, error);
        if (error instanceof WeftError && error.code === 'WEFT_INTERRUPTED') break;
      }
    }
  } catch (error) {
    fail('setup', error);
  } finally {
    stage?.end();
    try {
      await tearDown(state);
      rmSync(state, { recursive: true, force: true });
    } catch (error) {
      fail('clean-up', error);
    }
    release();
  }
  return {
    ok: results.length === steps.length && results.every(({ ok }) => ok),
    steps: results,
  };
}
