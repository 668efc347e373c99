/** `weft policy`: from watching to enforcing. */
import { Command } from 'commander';
import { diffCommand } from './diff-command.js';
import { observeCommand } from './observe-command.js';
import { suggestCommand } from './suggest-command.js';
import { testCommand } from './test-command.js';

export function policyCommand(): Command {
  const policy = new Command('policy').description(
    'introduce policies without an outage: observe, suggest, compare, test',
  );
  for (const command of [observeCommand(), suggestCommand(), diffCommand(), testCommand()])
    policy.addCommand(command);
  return policy;
}
