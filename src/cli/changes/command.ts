/** `weft changes`: which objects changed, who changed them, and which nodes and waypoints have acknowledged it. */
import { Command, Option } from 'commander';
import { isRecord } from '../../base/record.js';
import { loadKubeConfig } from '../../kubernetes/config.js';
import type { ChangesAnswer } from '../../model/change.js';
import { wantsCluster } from '../cluster/command.js';
import { systemNamespace } from '../cluster/system-namespace.js';
import { askReplicas, askState, type ControlQuestion } from '../control-admin.js';
import { durationMs } from '../edges/command.js';
import { stateDefault } from '../standalone/ledger.js';
import { mergeAnswers } from './merge.js';
import { changeLines } from './rows.js';

interface Flags {
  readonly namespace?: string;
  readonly since?: number;
  readonly state?: string;
  readonly kubernetes?: boolean;
  readonly systemNamespace: string;
  readonly json?: boolean;
}

/** The changes since a time, of all namespaces if none is given. */
export function changesQuestion(sinceMs: number, namespace?: string): ControlQuestion<ChangesAnswer> {
  const query = new URLSearchParams({
    sinceMs: String(sinceMs),
    ...(namespace === undefined ? {} : { namespace }),
  });
  return {
    does: 'say what changed',
    path: `/changes?${query}`,
    read: (value) =>
      isRecord(value) && Array.isArray(value['changes']) ? (value as unknown as ChangesAnswer) : undefined,
  };
}

async function answerOf(flags: Flags, sinceMs: number): Promise<ChangesAnswer> {
  const { state, kubernetes, systemNamespace: system, namespace } = flags;
  const question = changesQuestion(sinceMs, namespace);
  if (state !== undefined || !wantsCluster(kubernetes)) return askState(state ?? stateDefault, question);
  const { answers, missing } = await askReplicas(await loadKubeConfig(), system, question);
  return mergeAnswers(answers, missing);
}

function* lines({ changes, sinceMs, missing }: ChangesAnswer): Generator<string> {
  yield* changeLines(changes);
  if (changes.length === 0) yield 'nothing changed';
  yield `kept since ${new Date(sinceMs).toISOString()}, when the control plane started; the last 1000 changes`;
  for (const replica of missing) yield `no answer from ${replica}: who acknowledged to it is missing`;
}

export function changesCommand(): Command {
  return new Command('changes')
    .description(
      'show which objects changed, who changed them, and which nodes and waypoints have acknowledged it',
    )
    .option('-n, --namespace <name>', 'only objects of this namespace')
    .addOption(
      new Option('--since <duration>', 'for example 10m (default: all that is kept)').argParser(durationMs),
    )
    .option(
      '--state <dir>',
      `state directory of a testbed or of a control plane (default: ${stateDefault}, or the cluster of KUBECONFIG)`,
    )
    .option('--kubernetes', 'show the cluster even without KUBECONFIG')
    .option('--no-kubernetes', 'do not show the cluster even with KUBECONFIG')
    .option('--system-namespace <name>', 'of a cluster: namespace of the installation', systemNamespace)
    .option('--json', 'print one JSON object, with the time of each acknowledgment')
    .action(async (flags: Flags) => {
      const answer = await answerOf(flags, flags.since === undefined ? 0 : Date.now() - flags.since);
      console.log(flags.json === true ? JSON.stringify(answer) : [...lines(answer)].join('\n'));
    });
}
