/** `weft policy diff`: what manifests would change for the traffic that was observed. */
import { Command } from 'commander';
import { WeftError } from '../../base/errors.js';
import { table } from '../cluster/table.js';
import { printable } from '../printable.js';
import { badInput } from './bad-input.js';
import { callsOf, identityText, partyText, requestText, type Call } from './calls.js';
import { policyDiff, type Change, type ChangeKind, type Diff } from './diff.js';
import { currentOption, policyMeshes, type CurrentFlags } from './meshes.js';
import { callJson } from './observe-command.js';
import { observationGaps, observedEdges, observedOptions, type ObservedFlags } from './observed.js';
import { jsonOption, namespaceOption, placeOptions } from '../place.js';
import { PolicyMesh } from './policy-mesh.js';

interface Flags extends ObservedFlags, CurrentFlags {
  readonly namespace?: string;
  readonly json?: boolean;
}

const kindText: Readonly<Record<ChangeKind, string>> = {
  'newly-denied': 'would be REFUSED',
  'may-change': 'may change',
  'newly-audited': 'would be recorded by audit mode',
  'newly-allowed': 'would be allowed',
  'no-longer-audited': 'would no longer be recorded',
};

const destinationText = ({ destination, services, port }: Call): string =>
  `${destination.workload === '' && services.size > 0 ? [...services].join(', ') : partyText(destination)}:${port}`;

const changeRow = ({ kind, call, before, after }: Change): string[] => [
  kindText[kind],
  partyText(call.source),
  identityText(call.source),
  destinationText(call),
  requestText(call),
  String(call.passed + call.refused),
  kind === 'newly-allowed' || kind === 'no-longer-audited' ? `before: ${before.why}` : after.why,
];

/** Whether names are unknown because of limits: of such a call nobody knows whether it would be refused. */
const isBeyondLimits = ({ source, destination, port }: Call): boolean =>
  source.isOther || destination.isOther || port === 0;

const unknownMax = 20;
/** Exit code of a comparison without harm that leaves something out. */
const notComparedCode = 3;

function* lines({ changes, unknown, unchanged }: Diff): Generator<string> {
  if (changes.length > 0)
    yield* table([
      ['CHANGE', 'CLIENT', 'IDENTITY', 'CALLS', 'REQUEST', 'SEEN', 'WHY'],
      ...changes.map(changeRow),
    ]);
  const count = (kind: ChangeKind): number => changes.filter((one) => one.kind === kind).length;
  yield `of ${changes.length + unknown.length + unchanged} observed calls ${count('newly-denied')} would be refused, ${count('newly-allowed')} would be allowed, ${count('may-change')} may change, ${unchanged} stay as they are`;
  if (unknown.length === 0) return;
  yield `${unknown.length} calls cannot be evaluated:`;
  for (const { call, why } of unknown.slice(0, unknownMax))
    yield `  ${partyText(call.source)} -> ${destinationText(call)} (seen ${call.passed + call.refused} times): ${why}`;
  if (unknown.length > unknownMax) yield `  and ${unknown.length - unknownMax} more (--json lists all)`;
}

const changeJson = ({ kind, call, before, after }: Change): object => ({
  kind,
  call: callJson(call),
  before,
  after,
});

export function diffCommand(): Command {
  const command = namespaceOption(
    new Command('diff')
      .description(
        'show what manifests would change for observed traffic: newly denied, newly allowed, who, how often',
      )
      .argument('<files...>', 'manifests that would be applied: files, or directories of them'),
  );
  return jsonOption(placeOptions(currentOption(observedOptions(command))))
    .addHelpText(
      'after',
      '\nExit codes: 0 nothing that was seen would be refused, 1 something would be or may be, or names are beyond the limits of what is observed, 2 the input cannot be read, 3 nothing that could be compared would be refused, but something was not compared: sections of TrafficPolicies, whose effect calls do not tell.',
    )
    .action(
      badInput(async (files: string[], { namespace, json, ...flags }: Flags) => {
        const observed = await observedEdges(flags, namespace);
        const { errors, warnings, unevaluated, before, after } = policyMeshes(flags, files);
        if (errors.length > 0) throw new WeftError('WEFT_POLICY_TEST', errors.join('\n'));
        const calls = callsOf(observed.edges);
        const diff = policyDiff(calls, new PolicyMesh(before), new PolicyMesh(after));
        const gaps = [...unevaluated, ...observationGaps(observed, flags, Date.now())];
        if (json)
          console.log(
            JSON.stringify({
              changes: diff.changes.map(changeJson),
              unknown: diff.unknown.map(({ call, why }) => ({ call: callJson(call), why })),
              unchanged: diff.unchanged,
              notCompared: unevaluated,
              gaps,
            }),
          );
        else {
          for (const line of lines(diff)) console.log(printable(line));
          for (const line of [...warnings.map((one) => `not in force as written: ${one}`), ...gaps])
            console.error(printable(line));
        }
        const isHarmless =
          diff.changes.every(({ kind }) => kind !== 'newly-denied' && kind !== 'may-change') &&
          !diff.unknown.some(({ call }) => call.passed > 0 && isBeyondLimits(call));
        process.exitCode = isHarmless ? (unevaluated.length > 0 ? notComparedCode : 0) : 1;
      }),
    );
}
