/** Brings a testbed up with all its programs. */
import { WeftError } from '../../base/errors.js';
import { interruption } from './interruption.js';
import { tearDown } from './teardown.js';
import { Testbed, type TestbedOptions } from './testbed.js';
import { startWaypoint } from './waypoint.js';

/** The control plane, an agent per node, then a waypoint per Gateway: what it serves is closed until it is there. */
export async function startPrograms(testbed: Testbed): Promise<void> {
  await testbed.up();
  for (const [replica, gateway] of testbed.topology.waypoints.entries())
    await startWaypoint(testbed, { ...gateway, replica });
}

/** Resolves with a testbed that runs. Where it fails or is interrupted, it has removed what it made. */
export async function up(options: TestbedOptions): Promise<Testbed> {
  const { interrupted, release } = interruption('the testbed is taken down again');
  let testbed: Testbed | undefined;
  try {
    testbed = Testbed.create(options);
    await Promise.race([startPrograms(testbed), interrupted]);
    return testbed;
  } catch (error) {
    testbed?.close();
    // What stood here before is not ours to remove.
    if (!(error instanceof WeftError && error.code === 'WEFT_BED_EXISTS')) await tearDown(options.state);
    throw error;
  } finally {
    release();
  }
}
