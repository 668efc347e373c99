import { Command, Option } from 'commander';
import { adminGet, adminPort } from './admin.js';

export function dumpCommand(): Command {
  return new Command('dump')
    .description('print the state of a node agent as JSON')
    .option('--netns <name>', 'network namespace of the node')
    .addOption(
      new Option('--path <path>', 'part of the state')
        .choices(['dump', 'connections', 'certificates'])
        .default('dump'),
    )
    .action(async (options: { netns?: string; path: string }) => {
      console.log((await adminGet(options.netns, adminPort, `/${options.path}`)).trimEnd());
    });
}
