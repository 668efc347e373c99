#!/usr/bin/env node
import { Command } from 'commander';
import { errorText } from '../base/errors.js';
import { version } from '../base/version.js';
import { loadCommands } from './commands.js';

const program = new Command('weft').description('An ambient service mesh without sidecars').version(version);
const run = async (): Promise<void> => {
  for (const command of await loadCommands(process.argv[2])) program.addCommand(command);
  await program.parseAsync();
};
run().catch((error: unknown) => {
  console.error(`weft: ${errorText(error)}`);
  process.exit(1);
});
