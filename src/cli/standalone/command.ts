import { Command } from 'commander';
import { WeftError } from '../../base/errors.js';
import { needMachine } from '../check.js';
import { startWaypoint, waypointNetns } from './waypoint.js';
import { Testbed, tearDown, type TestbedOptions } from './testbed.js';

export const stateDefault = '/run/weft/standalone';

/** Stands afterwards, or has left nothing: also when it fails or is interrupted on the way. */
async function up(options: TestbedOptions): Promise<Testbed> {
  let interrupt: (signal: NodeJS.Signals) => void = () => undefined;
  const interrupted = new Promise<never>((_resolve, reject) => {
    interrupt = (signal) =>
      reject(new WeftError('WEFT_INTERRUPTED', `${signal}: the testbed is taken down again`));
  });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, interrupt);
  let testbed: Testbed | undefined;
  try {
    testbed = Testbed.create(options);
    const made = testbed;
    const all = async (): Promise<void> => {
      await made.up();
      // One of each Gateway; what they serve is closed until they are there.
      for (const [replica, gateway] of made.topology.waypoints.entries())
        await startWaypoint(made, { ...gateway, replica });
    };
    await Promise.race([all(), interrupted]);
    return testbed;
  } catch (error) {
    testbed?.close();
    // What stood here before is not ours to remove.
    if (!(error instanceof WeftError && error.code === 'WEFT_BED_EXISTS')) await tearDown(options.state);
    throw error;
  } finally {
    for (const signal of signals) process.removeListener(signal, interrupt);
  }
}

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
