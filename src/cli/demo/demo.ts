import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorText, WeftError } from '../../base/errors.js';
import type { Relay } from '../../model/relay.js';
import { interruption } from '../standalone/interruption.js';
import { removeAbandoned, tearDown } from '../standalone/teardown.js';
import { Testbed } from '../standalone/testbed.js';
import { Stage } from './stage.js';
import { steps } from './steps.js';

export interface StepResult {
  readonly name: string;
  readonly ok: boolean;
  readonly evidence: Record<string, unknown>;
}

const state = '/run/weft/demo';

/** Runs all steps on a new testbed and removes it. `say`: prints the narration. Never rejects. */
export async function runDemo(
  say: (line: string) => void,
  relay?: Relay,
): Promise<{ ok: boolean; steps: StepResult[] }> {
  const results: StepResult[] = [];
  const fail = (name: string, error: unknown): void => {
    results.push({ name, ok: false, evidence: { error: errorText(error) } });
    say(`    FAILED: ${errorText(error)}`);
  };
  const { interrupted, release } = interruption('the demo ends here');
  let stage: Stage | undefined;
  try {
    await removeAbandoned(state, 'another demo is running');
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
    const testbed = Testbed.create({ from: manifests, state, ...(relay === undefined ? {} : { relay }) });
    stage = new Stage(testbed, manifests, state);
    stage.startApplications();
    await Promise.race([testbed.up(), interrupted]);
    for (const [index, step] of steps.entries()) {
      say('');
      say(`${String(index + 1).padStart(2)}. ${step.title}`);
      try {
        const evidence = await Promise.race([step.run(stage), interrupted]);
        results.push({ name: step.name, ok: true, evidence });
        say(`    ok: ${step.summary(evidence)}`);
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
