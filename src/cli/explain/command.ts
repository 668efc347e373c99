/** `weft explain`: which path a connection takes, who decides, and why. The code that answers is loaded when it is asked. */
import { Command } from 'commander';
import { badInput } from '../policy/bad-input.js';
import { jsonOption, placeOptions } from '../place.js';
import type * as Run from './run.js';

/** `run.ts` with all that it imports, as native/bundle.mjs writes it: a fast start. */
const bundled = '../bundle/explain.js';

export function explainCommand(): Command {
  const command = new Command('explain')
    .description('say which path a connection takes now, who decides, and why')
    .usage('SOURCE DESTINATION[:PORT] [options], or weft explain ID [options]')
    .argument(
      '<source>',
      'NAMESPACE/POD, NAMESPACE/DEPLOYMENT, or an address; left out with --identity. Alone: the id of a connection in a log, or ADDRESS:PORT of its client',
    )
    .argument(
      '[destination]',
      'NAMESPACE/SERVICE, a host name, NAMESPACE/POD, or an address; with the port if there are several',
    )
    .option('--identity <spiffe>', 'a client with this identity, in place of SOURCE')
    .option('--method <method>', 'of the request, for waypoints (default: GET)')
    .option('--path <path>', 'of the request (default: /)')
    .option('--host <host>', "of the request (default: the Service's host name)")
    .option(
      '--header <header>',
      "a header of the request: 'name: value'; may be repeated",
      (one: string, all: readonly string[] = []) => [...all, one],
    )
    .option('--tcp', 'a connection that is not HTTP')
    .option('--sni <name>', 'a TLS connection with this server name')
    .option(
      '-f, --file <paths...>',
      'manifests of the mesh: files, or directories (default: those of the testbed, or the cluster)',
    )
    .option('--what-if <paths...>', 'the same with these manifests applied: files, or directories');
  return jsonOption(placeOptions(command), ' (docs/explain.schema.json)')
    .option(
      '--log <files...>',
      'logs with the connection; - is standard input (default: those of the testbed)',
    )
    .option('--certificates', 'of a cluster: ask the agents of both nodes for their certificates, too')
    .addHelpText(
      'after',
      `
Exit codes: 0 allowed, 3 refused, 4 not known or not for all pods, 2 the input cannot be read.
With --what-if it is that of the changed mesh.

Examples:
  weft explain shop/web shop/api
  weft explain shop/web shop/api:80 --method DELETE --path /orders/7
  weft explain shop/web shop/api:443 --sni shop.example
  weft explain --identity spiffe://cluster.local/ns/shop/sa/web api.shop.svc.cluster.local
  weft explain shop/web shop/api --what-if new-policy.yaml`,
    )
    .action(
      badInput(async (first: string, second: string | undefined, flags: Run.Flags) => {
        const { run } = (await import(bundled)) as typeof Run;
        await run(first, second, flags);
      }),
    );
}
