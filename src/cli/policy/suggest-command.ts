/** `weft policy suggest`: the least AccessPolicies that allow what was observed, as YAML. */
import { Command } from 'commander';
import { printable } from '../printable.js';
import { badInput } from './bad-input.js';
import { callsOf } from './calls.js';
import { currentOption, policyMeshes, type CurrentFlags } from './meshes.js';
import { observationGaps, observedEdges, observedOptions, type ObservedFlags } from './observed.js';
import { placeOptions } from '../place.js';
import { PolicyMesh } from './policy-mesh.js';
import { suggest } from './suggest.js';
import { suggestionLines } from './suggest-text.js';

interface Flags extends ObservedFlags, CurrentFlags {
  readonly namespace: string;
}

export function suggestCommand(): Command {
  const command = new Command('suggest')
    .description('print the least AccessPolicies that allow what was observed, as YAML; nothing is applied')
    .requiredOption('-n, --namespace <name>', 'namespace whose pods the policies are for');
  return placeOptions(currentOption(observedOptions(command))).action(
    badInput(async ({ namespace, ...flags }: Flags) => {
      const observed = await observedEdges(flags, namespace);
      const { warnings, before } = policyMeshes(flags, []);
      const suggestion = suggest(namespace, callsOf(observed.edges), new PolicyMesh(before));
      const gaps = observationGaps(observed, flags, Date.now());
      for (const line of suggestionLines(suggestion, gaps)) console.log(line);
      for (const warning of warnings) console.error(printable(`not in force as written: ${warning}`));
    }),
  );
}
