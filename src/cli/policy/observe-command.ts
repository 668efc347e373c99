/** `weft policy observe`: who calls whom. */
import { Command } from 'commander';
import { table } from '../cluster/table.js';
import { badInput } from './bad-input.js';
import { callsOf, identityText, partyText, requestText, type Call } from './calls.js';
import { jsonOption, namespaceOption, placeOptions } from '../place.js';
import { observationGaps, observedEdges, observedOptions, type ObservedFlags } from './observed.js';

interface Flags extends ObservedFlags {
  readonly namespace?: string;
  readonly json?: boolean;
}

const setText = (set: ReadonlySet<string>): string => [...set].sort().join(', ');

/** A call as JSON. */
export const callJson = ({ source, destination, ...call }: Call): object => ({
  ...call,
  source: { ...source, pods: [...source.pods] },
  destination: { ...destination, pods: [...destination.pods] },
  services: [...call.services],
  policies: [...call.policies],
  paths: [...call.paths],
});

function callLines(calls: readonly Call[]): string[] {
  return table([
    [
      'CLIENT',
      'IDENTITY',
      'CALLS',
      'PORT',
      'REQUEST',
      'PASSED',
      'REFUSED',
      'AUDITED',
      'PATH',
      'LAST SEEN',
      'POLICY',
    ],
    ...calls.map((call) => [
      partyText(call.source),
      identityText(call.source),
      call.destination.workload === '' && call.services.size > 0
        ? setText(call.services)
        : partyText(call.destination),
      call.port === 0 ? '?' : String(call.port),
      requestText(call),
      String(call.passed),
      String(call.refused),
      String(call.audited),
      setText(call.paths),
      new Date(call.lastSeenMs).toISOString().slice(0, 19) + 'Z',
      setText(call.policies),
    ]),
  ]);
}

export function observeCommand(): Command {
  const command = namespaceOption(
    new Command('observe').description(
      'show who calls whom: by identity, port and, with a waypoint, method and path',
    ),
  );
  return jsonOption(placeOptions(observedOptions(command))).action(
    badInput(async ({ namespace, json, ...flags }: Flags) => {
      const observed = await observedEdges(flags, namespace);
      const calls = callsOf(observed.edges).sort((a, b) => b.passed + b.refused - a.passed - a.refused);
      const gaps = observationGaps(observed, flags, Date.now());
      if (json) return console.log(JSON.stringify({ calls: calls.map(callJson), gaps }));
      for (const line of calls.length === 0 ? ['nothing was observed'] : callLines(calls)) console.log(line);
      for (const gap of gaps) console.error(gap);
    }),
  );
}
