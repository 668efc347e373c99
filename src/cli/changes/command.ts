/** `weft changes`: which objects changed, who changed them, and which nodes and waypoints have acknowledged it. */
import { Command } from 'commander';
import type { Change, ChangesAnswer } from '../../model/change.js';
import { askMesh, type ControlQuestion } from '../control-admin.js';
import { sinceOption } from '../edges/since.js';
import { jsonOption, meshOptions, namespaceOption, type MeshFlags } from '../place.js';
import { changeLines } from './rows.js';

interface Flags extends MeshFlags {
  readonly namespace?: string;
  readonly since?: number;
  readonly json?: boolean;
}

/** The changes since a time, of all namespaces if none is given. */
export const changesQuestion = (sinceMs: number, namespace?: string): ControlQuestion<ChangesAnswer> => ({
  does: 'say what changed',
  resource: 'changes',
  query: { sinceMs, namespace },
  answer: ({ items, ...rest }) => ({ changes: items as readonly Change[], ...rest }),
});

function* lines({ changes, sinceMs, missing }: ChangesAnswer): Generator<string> {
  yield* changeLines(changes);
  if (changes.length === 0) yield 'nothing changed';
  yield `kept since ${new Date(sinceMs).toISOString()}, when the control plane started; the last 1000 changes`;
  for (const replica of missing) yield `no answer from ${replica}: who acknowledged to it is missing`;
}

export function changesCommand(): Command {
  const command = namespaceOption(
    new Command('changes').description(
      'show which objects changed, who changed them, and which nodes and waypoints have acknowledged it',
    ),
  ).addOption(sinceOption(' (default: all that is kept)'));
  return jsonOption(meshOptions(command), ', with the time of each acknowledgment').action(
    async (flags: Flags) => {
      const sinceMs = flags.since === undefined ? 0 : Date.now() - flags.since;
      const answer = await askMesh(flags, changesQuestion(sinceMs, flags.namespace));
      console.log(flags.json === true ? JSON.stringify(answer) : [...lines(answer)].join('\n'));
    },
  );
}
