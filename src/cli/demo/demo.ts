import { cpSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorText } from '../../base/errors.js';
import { Bed, tearDown } from '../standalone/bed.js';
import { Stage, steps } from './steps.js';

export interface StepResult {
  readonly name: string;
  readonly ok: boolean;
  readonly evidence: Record<string, unknown>;
}

const state = '/run/weft/demo';

/** Runs all steps on a bed of its own and takes it away again. `say`: the narration. */
export async function runDemo(say: (line: string) => void): Promise<{ ok: boolean; steps: StepResult[] }> {
  await tearDown(state);
  const results: StepResult[] = [];
  let stage: Stage | undefined;
  let interrupted = false;
  const onSignal = (): void => void (interrupted = true);
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    mkdirSync(state, { recursive: true, mode: 0o700 });
    const manifests = join(state, 'manifests');
    cpSync(join(dirname(fileURLToPath(import.meta.url)), 'manifests'), manifests, { recursive: true });
    say(
      'Making two nodes and four pods as network namespaces, starting a control plane and an agent per node ...',
    );
    const bed = Bed.create({ from: manifests, state });
    stage = new Stage(bed, manifests, state);
    stage.startApplications();
    await bed.up();
    for (const [index, step] of steps.entries()) {
      if (interrupted) break;
      say('');
      say(`${String(index + 1).padStart(2)}. ${step.title}`);
      try {
        const evidence = await step.run(stage);
        results.push({ name: step.name, ok: true, evidence });
        say(`    ok: ${step.tell(evidence)}`);
      } catch (error) {
        results.push({ name: step.name, ok: false, evidence: { error: errorText(error) } });
        say(`    FAILED: ${errorText(error)}`);
      }
    }
  } catch (error) {
    results.push({ name: 'setup', ok: false, evidence: { error: errorText(error) } });
    say(`FAILED: ${errorText(error)}`);
  } finally {
    for (const live of stage?.lives ?? []) live.end();
    if (process.env['WEFT_DEMO_KEEP'] === undefined) await tearDown(state);
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
  }
  return {
    ok: !interrupted && results.length >= steps.length && results.every(({ ok }) => ok),
    steps: results,
  };
}
