import { Command } from 'commander';
import { needMachine } from '../check.js';
import { stateDefault } from './ledger.js';
import { tearDown } from './teardown.js';
import { up } from './up.js';
import { waypointNetns } from './waypoint.js';

export function standaloneCommand(): Command {
  const standalone = new Command('standalone').description(
    'nodes and pods as network namespaces on this machine',
  );
  standalone
    .command('up')
    .description('make the namespaces, start a control plane and an agent per node')
    .requiredOption('-f, --from <dir>', 'manifests')
    .option('--state <dir>', 'where the testbed is written down', stateDefault)
    .action(async (options: { from: string; state: string }) => {
      needMachine('testbed');
      const { topology } = await up(options);
      for (const node of topology.nodes) {
        const pods = node.pods.map(({ name, netns }) => `${name} (${netns})`);
        console.log(`node ${node.name} in ${node.netns}: ${pods.join(', ')}`);
      }
      for (const [replica, gateway] of topology.waypoints.entries()) {
        const netns = waypointNetns({ ...gateway, replica });
        console.log(`waypoint ${gateway.namespace}/${gateway.name} in ${netns}`);
      }
      console.log('up; run programs in a pod by: nsenter --net=/run/netns/NETNS -- PROGRAM');
      // Handles of what goes on running would keep this one.
      process.exit(0);
    });
  standalone
    .command('down')
    .description('remove all that up has made, whatever became of it')
    .option('--state <dir>', 'where the testbed is written down', stateDefault)
    .action(async (options: { state: string }) => {
      needMachine('testbed');
      console.log((await tearDown(options.state)) ? 'down' : `no testbed at ${options.state}`);
    });
  return standalone;
}
