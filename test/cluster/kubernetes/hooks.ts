/** Sets up a cluster with the applications and without Weft. */
import { join } from 'node:path';
import { after, before } from 'node:test';
import { here, kubectl, packNodeImage, releaseCluster, takeCluster } from '../../support/cluster.js';
import { shop } from './shop.js';

before(async () => {
  await takeCluster();
  await packNodeImage();
  await kubectl('apply', '-f', join(here, 'manifests', 'apps.yaml'));
  await shop('rollout', 'status', 'deploy/api', 'deploy/web', '--timeout=90s');
});
after(() => releaseCluster('shop'));
