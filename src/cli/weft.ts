#!/usr/bin/env node
import { Command } from 'commander';
import { errorText } from '../base/errors.js';
import { version } from '../base/version.js';
import { bugReportCommand } from './bug-report/command.js';
import { changesCommand } from './changes/command.js';
import { checkCommand } from './check.js';
import { clusterCommands } from './cluster/command.js';
import { demoCommand } from './demo/command.js';
import { dumpCommand } from './dump.js';
import { policyCommand } from './policy/command.js';
import { edgesCommand } from './edges/command.js';
import { explainCommand } from './explain/command.js';
import { programCommands } from './programs.js';
import { statCommand } from './stat/command.js';
import { standaloneCommand } from './standalone/command.js';
import { statusCommand } from './status.js';
import { topCommand } from './top/command.js';

const program = new Command('weft').description('An ambient service mesh without sidecars').version(version);
for (const command of [
  ...programCommands(),
  checkCommand(),
  ...clusterCommands(),
  standaloneCommand(),
  statusCommand(),
  edgesCommand(),
  statCommand(),
  topCommand(),
  explainCommand(),
  changesCommand(),
  dumpCommand(),
  bugReportCommand(),
  policyCommand(),
  demoCommand(),
]) {
  program.addCommand(command);
}

program.parseAsync().catch((error: unknown) => {
  console.error(`weft: ${errorText(error)}`);
  process.exit(1);
});
