#!/usr/bin/env node
import { Command } from 'commander';
import { errorText } from '../base/errors.js';
import { UsageError, usageExitCode, withUsageErrors } from '../base/usage.js';
import { version } from '../base/version.js';
import { loadCommands } from './commands.js';

const program = new Command('weft').description('An ambient service mesh without sidecars').version(version);
const run = async (): Promise<void> => {
  for (const command of await loadCommands(process.argv[2])) program.addCommand(command);
  await withUsageErrors(program).parseAsync();
};
run().catch((error: unknown) => {
  console.error(`weft: ${errorText(error)}`);
  process.exit(error instanceof UsageError ? usageExitCode : 1);
});
