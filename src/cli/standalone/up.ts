/** Starts a testbed with all its programs. */
import { existsSync } from 'node:fs';
import { WeftError } from '../../base/errors.js';
import { interruption } from './interruption.js';
import { ledgerPath } from './ledger.js';
import { startRateLimiter } from './rate-limiter.js';
import { tearDown } from './teardown.js';
import { Testbed, type TestbedOptions } from './testbed.js';
import { startWaypoint } from './waypoint.js';

/**
 * Starts the control plane, an agent per node, the rate limit service if it is needed, then a waypoint per Gateway. Services of a waypoint are
 * closed until it is ready.
 */
export async function startPrograms(testbed: Testbed): Promise<void> {
  await testbed.up();
  const { redis } = testbed.options;
  if (redis !== undefined || testbed.topology.hasGlobalLimits)
    await startRateLimiter(testbed, redis === undefined ? {} : { redis });
  for (const [replica, gateway] of testbed.topology.waypoints.entries())
    await startWaypoint(testbed, { ...gateway, replica });
}

/** Resolves with a running testbed. On a failure or an interruption it removes everything that it created, and nothing else. */
export async function up(options: TestbedOptions): Promise<Testbed> {
  // Manifests that cannot be read are found before an earlier testbed at this place is.
  const isEarlier = existsSync(ledgerPath(options.state));
  const { interrupted, release } = interruption('the testbed is removed');
  let testbed: Testbed | undefined;
  try {
    testbed = Testbed.create(options);
    await Promise.race([startPrograms(testbed), interrupted]);
    return testbed;
  } catch (error) {
    testbed?.close();
    // Without a testbed the ledger may be that of another one. A pod's namespace that exists is found only after this one was created.
    const isOwn = !isEarlier && !(error instanceof WeftError && error.code === 'WEFT_BED_EXISTS');
    if (testbed || isOwn) await tearDown(options.state);
    throw error;
  } finally {
    release();
  }
}
