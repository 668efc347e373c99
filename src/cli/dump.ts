import { Command, Option } from 'commander';
import { adminGet, adminPort } from './admin.js';

export function dumpCommand(): Command {
  return new Command('dump')
    .description("a node agent's whole state, as JSON")
    .option('--netns <name>', "the node's network namespace")
    .addOption(
      new Option('--path <path>', 'what of it')
        .choices(['dump', 'connections', 'certificates'])
        .default('dump'),
    )
    .action(async (options: { netns?: string; path: string }) => {
      console.log((await adminGet(options.netns, adminPort, `/${options.path}`)).trimEnd());
    });
}
