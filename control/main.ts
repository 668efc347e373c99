/** The control plane's program: `serve`, and the commands for operators and for the chart's jobs. */
import { Command } from 'commander';
import { errorText } from '../src/base/errors.js';
import { UsageError, usageExitCode, withUsageErrors } from '../src/base/usage.js';
import { clusterCommands } from './commands/cluster.js';
import { manifestsCommand } from './commands/manifests.js';
import { migrateCommand } from './commands/migrate.js';
import { policyMeshCommand } from './commands/policy-mesh.js';
import { rotateRootCommand } from './commands/rotate-root.js';
import { serveCommand } from './commands/serve.js';
import { tokenCommands } from './commands/token.js';

/** Commands that `weft` has, too: their help names them as users call them. */
const operatorCommands = ['migrate', 'token', 'revoke-token', 'rotate-root'];
const program = new Command(operatorCommands.includes(process.argv[2] ?? '') ? 'weft' : 'weft control');
serveCommand(program);
clusterCommands(program);
manifestsCommand(program);
migrateCommand(program);
policyMeshCommand(program);
tokenCommands(program);
rotateRootCommand(program);

withUsageErrors(program)
  .parseAsync()
  .catch((error: unknown) => {
    console.error(errorText(error));
    process.exit(error instanceof UsageError ? usageExitCode : 1);
  });
