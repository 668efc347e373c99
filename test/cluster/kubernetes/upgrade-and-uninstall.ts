/** Upgrade and uninstall of the chart under load. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../../src/base/wait.js';
import { chart, eitherAgent, given, kubectl, run, state, system } from '../../support/cluster.js';
import { since, traffic } from './shop.js';

test('helm upgrade under load: no request fails, and the CRDs are upgraded to those of the chart', async () => {
  await kubectl(
    'patch',
    'crd',
    'accesspolicies.weft.dev',
    '--type=json',
    '-p',
    '[{"op":"remove","path":"/spec/versions/0/additionalPrinterColumns"}]',
  );
  const before = await traffic();
  await run(
    'helm',
    'upgrade',
    'weft',
    ...chart,
    '--set',
    'control.resources.requests.cpu=50m',
    '--wait',
    '--timeout',
    '180s',
  );
  const { bad, errors } = await since(before);
  assert.equal(bad, 0, errors.join('\n'));
  assert.match(
    await kubectl('get', 'crd', 'accesspolicies.weft.dev', '-o', 'yaml'),
    /additionalPrinterColumns/,
  );
});

test('helm uninstall under load: no request fails, and no program, link, map, CNI entry or listener is left on the nodes', async () => {
  const before = await traffic();
  await run('helm', 'uninstall', 'weft', '-n', 'weft-system', '--wait', '--timeout', '180s');
  const during = await traffic();
  assert.ok(during.good > before.good);
  assert.equal(during.bad - before.bad, 0, during.errors.join('\n'));
  await until('the agents are gone', 60_000, async () =>
    (await system('get', 'pod', '-l', eitherAgent, '-o', 'name')) === '' ? true : undefined,
  );
  const { bad, errors } = await since(await traffic());
  assert.equal(bad, 0, errors.join('\n'));
  if (given !== undefined) return;
  const nodes = readdirSync(join(state, 'mnt')).filter((name) => /^node\d+$/.test(name));
  assert.ok(nodes.length > 0);
  for (const node of nodes) {
    const pins = await run('nsenter', `--mount=${join(state, 'mnt', node)}`, 'ls', '/sys/fs/bpf');
    assert.doesNotMatch(pins, /weft/);
    for (const dir of ['/etc/cni/net.d', '/opt/cni/bin', '/var/lib/weft', '/run/weft/agent/cni']) {
      const left = await run(
        'nsenter',
        `--mount=${join(state, 'mnt', node)}`,
        'sh',
        '-c',
        `grep -rl weft ${dir}; ls ${dir}; true`,
      );
      assert.doesNotMatch(left, /weft|socket|namespaces/, dir);
    }
  }
  for (const kind of ['prog', 'map']) {
    const found = JSON.parse(await run('bpftool', '-j', kind, 'show')) as { name?: string }[];
    assert.deepEqual(
      found.filter(({ name }) => name?.startsWith('weft_')),
      [],
    );
  }
});
