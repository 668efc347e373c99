/** `weft policy`: from watching to enforcing. */
import { Command } from 'commander';
import { testCommand } from './test-command.js';

export function policyCommand(): Command {
  const policy = new Command('policy').description(
    'introduce policies without an outage: observe, suggest, compare, test',
  );
  policy.addCommand(testCommand());
  return policy;
}
