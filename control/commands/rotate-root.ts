/** `rotate-root`: one step of a root rotation in a state directory. */
import type { Command } from 'commander';
import { UsageError } from '../../src/base/usage.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { rotateRoot, type RotationPhase } from '../certificates/rotation.js';

/** Printed after a phase: its result and the next phase. */
const results: Readonly<Record<RotationPhase, string>> = {
  begin: 'the new root is trusted beside the old one; once all nodes have the new root, run --phase switch',
  switch: 'certificates are signed by the new root; once all nodes have new certificates, run --phase finish',
  finish: 'the old root is no longer trusted',
};

export function rotateRootCommand(program: Command): void {
  program
    .command('rotate-root')
    .description('replace the root certificate without interrupting connections: begin, switch, finish')
    .requiredOption('--state <dir>', "the control plane's state directory")
    .requiredOption('--phase <phase>', 'begin, switch or finish')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .action(({ state, phase, trustDomain }: { state: string; phase: string; trustDomain: string }) => {
      if (phase !== 'begin' && phase !== 'switch' && phase !== 'finish')
        throw new UsageError('WEFT_ROTATION', `unknown phase ${phase}: give begin, switch or finish`);
      rotateRoot(state, parseTrustDomain(trustDomain), phase);
      console.log(results[phase]);
    });
}
