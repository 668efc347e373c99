import { Command, Option } from 'commander';
import { stateOption } from '../place.js';
import { checkRedisUrl } from '../../rate-limit/redis-url.js';
import { relayDefault, relays, type Relay } from '../../model/relay.js';
import { needMachine } from '../check.js';
import { tearDown } from './teardown.js';
import { up } from './up.js';
import { waypointNetns } from './waypoint.js';

/** Of testbeds. Without it, the environment variable WEFT_RELAY decides. */
export const relayOption = (): Option =>
  new Option(
    '--relay <relay>',
    `the program that relays the bytes of connections (default: ${relayDefault()})`,
  ).choices(relays);

export function standaloneCommand(): Command {
  const standalone = new Command('standalone').description(
    'run a testbed on this machine: nodes and pods as network namespaces',
  );
  const start = standalone
    .command('up')
    .description('create the namespaces, start a control plane and an agent per node')
    .requiredOption('-f, --from <dir>', 'directory of manifests');
  stateOption(start)
    .option(
      '--redis <url>',
      'Redis of the rate limit service (default: a redis-server of its own, if a TrafficPolicy has a global limit)',
    )
    .addOption(relayOption())
    .action(async (options: { from: string; state: string; redis?: string; relay?: Relay }) => {
      needMachine('testbed', options.relay ?? relayDefault());
      if (options.redis !== undefined) checkRedisUrl(options.redis);
      const { topology } = await up(options);
      for (const node of topology.nodes) {
        const pods = node.pods.map(({ name, netns }) => `${name} (${netns})`);
        console.log(`node ${node.name} in ${node.netns}: ${pods.join(', ')}`);
      }
      for (const [replica, gateway] of topology.waypoints.entries()) {
        const netns = waypointNetns({ ...gateway, replica });
        console.log(`waypoint ${gateway.namespace}/${gateway.name} in ${netns}`);
      }
      console.log('up; run programs in a pod with: nsenter --net=/run/netns/NETNS -- PROGRAM');
      // Handles of the programs that keep running would keep this process alive.
      process.exit(0);
    });
  const end = standalone.command('down').description('remove the testbed, in whatever state it is');
  stateOption(end).action(async (options: { state: string }) => {
    needMachine('testbed');
    console.log((await tearDown(options.state)) ? 'down' : `no testbed at ${options.state}`);
  });
  return standalone;
}
