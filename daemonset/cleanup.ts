import { Command } from 'commander';
import { instances, removeInstance } from './datapath/loader.js';
import { errorText } from '../src/base/errors.js';
import { withUsageErrors } from '../src/base/usage.js';

/** Removes what agents left in the kernel, of one instance or of all. Returns the removed instances. */
export function cleanup(instance?: string): string[] {
  return (instance === undefined ? instances() : [instance]).filter((name) => removeInstance(name));
}

/**
 * The command `weft cleanup`. Everything but `--instance` is refused before `remove` is called, because `--help` or a mistyped option must
 * not remove anything.
 */
export function cleanupCommand(remove: typeof cleanup): Command {
  return new Command('weft cleanup')
    .description('remove what agents left in the kernel; end the agents first')
    .option('--instance <name>', 'remove the pins of this instance only (default: all instances)')
    .allowExcessArguments(false)
    .action(({ instance }: { instance?: string }) => {
      const removed = remove(instance);
      console.log(
        removed.length === 0
          ? 'nothing to remove: the kernel holds no state of Weft'
          : `removed: ${removed.join(', ')}`,
      );
    });
}

if (process.argv[1] && import.meta.url === `file://${process.argv[1]}`) {
  try {
    withUsageErrors(cleanupCommand(cleanup)).parse();
  } catch (error) {
    console.error(errorText(error));
    process.exitCode = 1;
  }
}
