import { Command } from 'commander';
import { needMachine } from '../check.js';
import { runDemo } from './demo.js';

export function demoCommand(): Command {
  return new Command('demo')
    .description('see the mesh at work on two nodes made of network namespaces')
    .option('--json', 'print one JSON object only')
    .action(async (options: { json?: boolean }) => {
      needMachine('demo');
      const result = await runDemo(options.json ? () => undefined : (line) => console.log(line));
      if (options.json) console.log(JSON.stringify(result));
      else console.log(result.ok ? '\nAll steps ok.' : '\nSome steps failed.');
      // A step that was given up may still be waiting for something.
      process.exit(result.ok ? 0 : 1);
    });
}
