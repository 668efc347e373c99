/** Sets up a cluster with the applications and without Weft. */
import { join } from 'node:path';
import { after, before } from 'node:test';
import { here, kubectl, releaseCluster, takeCluster } from '../../support/cluster.js';

before(async () => {
  await takeCluster();
  await kubectl('apply', '-f', join(here, 'manifests', 'waypoint.yaml'));
});
after(async () => {
  await kubectl('delete', 'gateway', '--all', '-n', 'store').catch(() => '');
  await releaseCluster('store', 'other', 'outside');
});
