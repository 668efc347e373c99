/** The control plane's program: `serve`, and the commands for operators and for the chart's jobs. */
import { Command } from 'commander';
import { errorText } from '../src/base/errors.js';
import { clusterCommands } from './commands/cluster.js';
import { manifestsCommand } from './commands/manifests.js';
import { migrateCommand } from './commands/migrate.js';
import { rotateRootCommand } from './commands/rotate-root.js';
import { serveCommand } from './commands/serve.js';
import { tokenCommands } from './commands/token.js';

const program = new Command('weft control');
serveCommand(program);
clusterCommands(program);
manifestsCommand(program);
migrateCommand(program);
tokenCommands(program);
rotateRootCommand(program);

program.parseAsync().catch((error: unknown) => {
  console.error(errorText(error));
  process.exit(1);
});
