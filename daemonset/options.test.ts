import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectionsOfWorker, parseOptions } from './options.js';

test('workers share the descriptors of the process: connections beyond them are refused by a limit, not by an error', () => {
  const limits = (soft: string): string =>
    `Limit                     Soft Limit           Hard Limit           Units\nMax open files            ${soft}                 1048576              files\n`;
  assert.equal(connectionsOfWorker(1, limits('1048576')), 100_000);
  assert.equal(connectionsOfWorker(1, limits('unlimited')), 100_000);
  assert.equal(connectionsOfWorker(2, limits('20512')), 5_000);
  assert.equal(connectionsOfWorker(1, limits('1024')), 256);
  assert.equal(connectionsOfWorker(1, 'nothing that is known'), 256);
  assert.equal(connectionsOfWorker(8, limits('256')), 16);
});

test('by default a machine accepts no Workload, and network namespaces are those of ip netns', () => {
  const of = (...more: string[]) =>
    parseOptions(['node', 'agent', '--node', 'n', '--control', 'c', '--root', 'r', '--token', 't', ...more]);
  const { run, workloadNamespaces, netnsDirs } = of();
  assert.deepEqual(
    { run, workloadNamespaces, netnsDirs },
    {
      run: '/run/weft/agent',
      workloadNamespaces: [],
      netnsDirs: ['/run/netns', '/var/run/netns'],
    },
  );
  assert.deepEqual(of('--workload-namespaces', 'shop', 'bank', '--drain-ms', '5').workloadNamespaces, [
    'shop',
    'bank',
  ]);
  assert.deepEqual(of('--netns-dirs', '/srv/netns').netnsDirs, ['/srv/netns']);
});
