import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pod } from '../../test/support/mesh.js';
import type { LocalPod } from '../worker-ipc.js';
import { InheritedEpochs, type InheritedParts, type InheritedVerdict } from './inherited.js';

const local = (name: string, ip: string, cookie: bigint): LocalPod => ({
  pod: pod(name, ip),
  netns: { cookie, path: '' },
});
const web = local('web', '10.0.0.1', 1n);
const api = local('api', '10.0.0.2', 2n);
const verdict = (more: Partial<InheritedVerdict> = {}): InheritedVerdict => ({
  source: 1n,
  destination: 2n,
  port: 80,
  epoch: 7n,
  ...more,
});
function epochs(verdicts: readonly InheritedVerdict[], more: Partial<InheritedParts> = {}) {
  const limits: string[] = [];
  const inherited = new InheritedEpochs({
    localOf: (ip) => (ip === '10.0.0.2' ? { cookie: 2n, epoch: 7n } : undefined),
    verdicts: () => verdicts,
    podOf: (cookie) => [web, api].find(({ netns }) => netns.cookie === cookie),
    isAllowed: (_source, _destination, port) => port === 80,
    onLimit: () => limits.push('limit'),
    ...more,
  });
  return { inherited, limits };
}

test('an epoch is kept if the view still gives every verdict that is valid at it', () => {
  assert.equal(epochs([verdict()]).inherited.keep(api), 7n);
  assert.equal(epochs([]).inherited.keep(api), 7n);
  // Verdicts of a former epoch, or toward another pod, do not matter.
  assert.equal(epochs([verdict({ port: 81, epoch: 6n })]).inherited.keep(api), 7n);
  assert.equal(epochs([verdict({ port: 81, destination: 3n })]).inherited.keep(api), 7n);
});

test('one verdict that the view would not give, or whose source is unknown, requires a new epoch', () => {
  assert.equal(epochs([verdict(), verdict({ port: 81 })]).inherited.keep(api), undefined);
  assert.equal(epochs([verdict({ source: 9n })]).inherited.keep(api), undefined);
});

test('a pod whose rows are missing, belong to another pod or have different epochs gets a new epoch', () => {
  assert.equal(epochs([]).inherited.keep(web), undefined);
  assert.equal(epochs([], { localOf: () => ({ cookie: 9n, epoch: 7n }) }).inherited.keep(api), undefined);
  const two = { ...api, pod: { ...api.pod, addresses: [...api.pod.addresses, ...web.pod.addresses] } };
  assert.equal(epochs([]).inherited.keep(two), undefined);
});

test('the number of verdicts checked is bounded', () => {
  const { inherited, limits } = epochs([verdict(), verdict({ source: 1n })], { max: 1 });
  assert.equal(inherited.keep(api), undefined);
  assert.deepEqual(limits, ['limit']);
});
