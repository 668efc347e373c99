/** `weft edges`: who calls whom, by which path, and whether mutual TLS protects it. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { durationMsOf } from '../../model/duration.js';
import { edgesKeptMs, type EdgeAnswer, type EdgeQuery } from '../../model/edge.js';
import { askMesh } from '../control-admin.js';
import type { MeshFlags } from '../place.js';
import { stateDefault } from '../standalone/ledger.js';
import { keptText } from './kept.js';
import { edgesQuestion } from './edges-question.js';
import { edgeLines } from './rows.js';

interface Flags extends MeshFlags {
  readonly namespace?: string;
  readonly since: number;
  readonly json?: boolean;
}

/** Parses a duration. Error: InvalidArgumentError, for commander. */
export function durationMs(text: string): number {
  const ms = durationMsOf(text);
  if (ms === undefined) throw new InvalidArgumentError('not a duration such as 90s or 15m');
  return ms;
}

/** The control plane computes its 15 minutes a moment before or after this program does. */
const keptSlackMs = 10_000;

function* lines(answer: EdgeAnswer, { sinceMs }: EdgeQuery, nowMs: number): Generator<string> {
  const wantedMs = nowMs - sinceMs;
  yield* edgeLines(answer.edges, nowMs);
  if (answer.edges.length === 0) yield 'nothing was observed';
  if (answer.sinceMs > Math.max(sinceMs, nowMs - edgesKeptMs + keptSlackMs))
    yield `observed since ${new Date(answer.sinceMs).toISOString()}: programs report every 10 s`;
  if (wantedMs > edgesKeptMs) yield keptText(wantedMs);
  for (const replica of answer.missing) yield `no answer from ${replica}: what was reported to it is missing`;
}

export function edgesCommand(): Command {
  return new Command('edges')
    .description('show who calls whom, by which path, and whether mutual TLS protects it')
    .option('-n, --namespace <name>', 'only what calls or is called in this namespace')
    .addOption(
      new Option('--since <duration>', 'at most 15m').argParser(durationMs).default(edgesKeptMs, '15m'),
    )
    .option(
      '--state <dir>',
      `state directory of a testbed or of a control plane (default: ${stateDefault}, or the cluster of KUBECONFIG)`,
    )
    .option('--kubernetes', 'show the cluster even without KUBECONFIG')
    .option('--no-kubernetes', 'do not show the cluster even with KUBECONFIG')
    .option('--json', 'print one JSON object, with the edges as they were reported')
    .action(async (flags: Flags) => {
      const nowMs = Date.now();
      const query = { namespace: flags.namespace, sinceMs: nowMs - flags.since };
      const answer = await askMesh(flags, edgesQuestion(query));
      if (flags.json !== true) return console.log([...lines(answer, query, nowMs)].join('\n'));
      console.log(JSON.stringify(answer));
      if (flags.since > edgesKeptMs) console.error(keptText(flags.since));
    });
}
