import { Command } from 'commander';
import { jsonOption } from '../place.js';
import { relayDefault, type Relay } from '../../model/relay.js';
import { needMachine } from '../check.js';
import { relayOption } from '../standalone/command.js';
import { runDemo } from './demo.js';

export function demoCommand(): Command {
  return jsonOption(new Command('demo').description('show the mesh on two nodes made of network namespaces'))
    .addOption(relayOption())
    .action(async (options: { json?: boolean; relay?: Relay }) => {
      const relay = options.relay ?? relayDefault();
      needMachine('demo', relay);
      const result = await runDemo(options.json ? () => undefined : (line) => console.log(line), relay);
      if (options.json) console.log(JSON.stringify(result));
      else console.log(result.ok ? '\nAll steps ok.' : '\nSome steps failed.');
      // A step that timed out may still hold timers, which would keep this process alive.
      process.exit(result.ok ? 0 : 1);
    });
}
