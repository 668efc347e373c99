import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isV6, parseCidr, parseIp } from '../../src/model/address.js';
import {
  emptyMatch,
  type AuthorizationPolicy,
  type PolicyMatch,
  type StringMatch,
} from '../../src/model/policy.js';
import { bucketOf } from '../../src/state/affinity.js';
import { resolve } from '../../src/state/resolve.js';
import { MeshState } from '../../src/state/store.js';
import { behind, id, pod, policy, service, uid, waypointRef, workload } from '../../test/support/mesh.js';
import { randomOf } from '../../test/support/random.js';
import type { LocalPod } from '../worker-ipc.js';
import { planInboundTunnel } from '../../src/path/choose-path.js';
import { kernelServices } from './services.js';
import { epochAbove, isKernelPathAllowed } from './verdicts.js';

const accounts = ['web', 'api', 'db'];
/** Three pods with shared service accounts, each with an IPv4 and an IPv6 address. */
const locals: readonly LocalPod[] = Array.from({ length: 5 }, (_, i) => ({
  pod: pod(`p${i}`, `10.0.1.${i + 1}`, {
    identity: id(accounts[i % 3] ?? ''),
    addresses: [parseIp(`10.0.1.${i + 1}`), parseIp(`fd00::${i + 1}`)],
  }),
  netns: { cookie: BigInt(i + 1), path: '' },
}));
const at = (i: number): LocalPod => {
  const local = locals[i];
  assert.ok(local);
  return local;
};

function randomPolicies(random: (below: number) => number): AuthorizationPolicy[] {
  const some = <T>(of: readonly T[], chance: number): T[] =>
    random(100) < chance ? [of[random(of.length)] as T] : [];
  const blocks = ['10.0.1.0/30', '10.0.1.2/32', 'fd00::/126', 'fd00::2/128', '10.0.0.0/8'].map(parseCidr);
  const principals: StringMatch[] = [
    { kind: 'exact', value: 'cluster.local/ns/shop/sa/web' },
    { kind: 'prefix', value: 'cluster.local/ns/shop/' },
    { kind: 'suffix', value: '/sa/db' },
    { kind: 'presence' },
  ];
  const serviceAccounts = accounts.map((serviceAccount) => ({ namespace: 'shop', serviceAccount }));
  const match = (): PolicyMatch => ({
    ...emptyMatch,
    principals: some(principals, 30),
    notPrincipals: some(principals, 10),
    sourceIps: some(blocks, 25),
    notSourceIps: some(blocks, 10),
    destinationIps: some(blocks, 15),
    notDestinationIps: some(blocks, 5),
    destinationPorts: some([80, 81], 30),
    notDestinationPorts: some([80, 81], 10),
    serviceAccounts: some(serviceAccounts, 25),
    notServiceAccounts: some(serviceAccounts, 10),
  });
  return Array.from({ length: random(5) }, (_, i) =>
    policy(
      `policy-${i}`,
      random(2) === 0 ? 'allow' : 'deny',
      {},
      {
        scope: (['global', 'namespace', 'workload'] as const)[random(3)] ?? 'global',
        dryRun: random(5) === 0,
        rules: Array.from({ length: random(3) }, () => ({
          clauses: Array.from({ length: random(3) }, () => ({
            matches: Array.from({ length: random(3) }, match),
          })),
        })),
      },
    ),
  );
}

test('a verdict exists exactly if a tunnel would be admitted from each address, unaudited: 10 000 cases', () => {
  const seed = Date.now() % 1_000_000;
  const random = randomOf(seed);
  let allowed = 0;
  for (let round = 0; round < 10_000; round++) {
    const policies = randomPolicies(random);
    const view = new MeshState();
    view.apply({
      policies,
      workloads: locals.map(({ pod: { name, identity, addresses } }) =>
        workload(name, '10.0.1.1', 'n1', {
          identity,
          addresses,
          policies: policies.filter(() => random(2) === 0).map((one) => one.key),
        }),
      ),
    });
    const source = at(random(5));
    const destination = at(random(5));
    if (source === destination) continue;
    const port = 80 + random(2);
    const expected = source.pod.addresses.every((remote) =>
      destination.pod.addresses
        .filter((ip) => isV6(ip) === isV6(remote))
        .every((ip) => {
          const plan = planInboundTunnel(view, {
            pod: destination.pod,
            authority: { ip, port },
            local: ip,
            remote,
            peer: source.pod.identity,
          });
          return plan.kind === 'deliver' && plan.verdict.audited.length === 0;
        }),
    );
    const actual = isKernelPathAllowed(view, source, destination, port, 'n1');
    assert.equal(actual, expected, `seed ${seed}, round ${round}`);
    if (actual) allowed++;
  }
  assert.ok(allowed > 1_000 && allowed < 9_000, `${allowed} allowed: the cases are lopsided`);
});

test('no verdict if either end requires TLS, if a waypoint serves the port, or if the destination is not enrolled', () => {
  const [a, b] = [at(0), at(1)];
  const meshOf = (more: Parameters<typeof workload>[3] = {}, waypoint = false): MeshState => {
    const view = new MeshState();
    view.apply({
      workloads: [
        workload('p0', '10.0.1.1', 'n1', { identity: a.pod.identity, addresses: a.pod.addresses }),
        workload('p1', '10.0.1.2', 'n1', { identity: b.pod.identity, addresses: b.pod.addresses, ...more }),
      ],
      services: waypoint
        ? [
            service('s', '10.96.0.1', 8080, {
              waypoint: waypointRef,
            }),
          ]
        : [],
    });
    return view;
  };
  const encrypted = (local: LocalPod): LocalPod => ({
    ...local,
    pod: { ...local.pod, sameNode: 'encrypted' },
  });
  assert.equal(isKernelPathAllowed(meshOf(), a, b, 8080, 'n1'), true);
  assert.equal(isKernelPathAllowed(meshOf(), encrypted(a), b, 8080, 'n1'), false);
  assert.equal(isKernelPathAllowed(meshOf(), a, encrypted(b), 8080, 'n1'), false);
  assert.equal(isKernelPathAllowed(meshOf({ tunnel: 'none' }), a, b, 8080, 'n1'), false);
  assert.equal(isKernelPathAllowed(meshOf(behind('s'), true), a, b, 8080, 'n1'), false);
  assert.equal(isKernelPathAllowed(meshOf(behind('s'), true), a, b, 9090, 'n1'), true, 'another port');
  assert.equal(isKernelPathAllowed(meshOf(), a, b, 15008, 'n1'), false, "a port of the agent's");
});

test('the kernel balances Services with a local endpoint and no waypoint, by family, health and preference', () => {
  const view = new MeshState();
  const here = workload('here', '10.0.1.1', 'n1', behind('s'));
  const there = workload('there', '10.0.2.1', 'n2', behind('s'));
  const tables = (): Record<string, string[]> =>
    Object.fromEntries(
      [...kernelServices(view, [uid('here')], 'n1')].map(([address, { endpoints }]) => [
        address,
        endpoints.map(({ ip, port }) => `${ip}:${port}`).sort(),
      ]),
    );
  view.apply({ workloads: [here, there], services: [service('s', '10.96.0.1')] });
  assert.deepEqual(tables(), { '10.96.0.1:80': ['10.0.1.1:8080', '10.0.2.1:8080'] });
  view.apply({ workloads: [{ ...there, healthy: false }] });
  assert.deepEqual(tables(), { '10.96.0.1:80': ['10.0.1.1:8080'] });
  view.apply({
    workloads: [there],
    services: [
      service('s', '10.96.0.1', 8080, {
        loadBalancing: { preference: ['node'], mode: 'failover', allowUnhealthy: false },
      }),
    ],
  });
  assert.deepEqual(tables(), { '10.96.0.1:80': ['10.0.1.1:8080'] });
  view.apply({
    services: [
      service('s', '10.96.0.1', 8080, {
        waypoint: waypointRef,
      }),
    ],
  });
  assert.deepEqual(tables(), {});
  view.apply({ workloads: [{ ...here, services: new Map() }], services: [service('s', '10.96.0.1')] });
  assert.deepEqual(tables(), {}, 'no endpoint here: left to the agent');
});

test('with session affinity the kernel has one endpoint per bucket, the one that the agent would pick', () => {
  const view = new MeshState();
  const names = ['a', 'b', 'c'];
  view.apply({
    workloads: names.map((name, i) => workload(name, `10.0.1.${i + 1}`, 'n1', behind('s'))),
    services: [service('s', '10.96.0.1', 8080, { sessionAffinity: 'client-ip' })],
  });
  const table = kernelServices(view, [uid('a')], 'n1').get('10.96.0.1:80');
  assert.equal(table?.affinity, true);
  assert.equal(table.endpoints.length, 512);
  const chosen = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const client = parseIp(`10.1.${i % 7}.${i}`);
    const found = resolve(
      view,
      { ip: parseIp('10.96.0.1'), port: 80 },
      { ip: client, namespace: 'shop' },
      'n1',
      i / 200,
    );
    assert.ok(found.kind === 'endpoint');
    assert.deepEqual(table.endpoints[bucketOf(client)], found.target);
    chosen.add(found.target.ip);
  }
  assert.equal(chosen.size, 3);
});

test('a new epoch is above those of all verdicts in the kernel, whatever the wall clocks', () => {
  assert.equal(epochAbove([], 7n), 8n);
  assert.equal(epochAbove([3n, 9n, 5n], 7n), 10n);
  // An epoch from a former build's wall clock, in milliseconds, of a year later than this clock's.
  const former = BigInt(Date.UTC(2200, 0));
  assert.equal(epochAbove([former], process.hrtime.bigint()) > former, true);
  // The next agent, with empty maps: the time since boot has advanced by more than the number of the previous agent's changes.
  const first = epochAbove([], 1_000_000_000n) + 5_000n;
  assert.ok(epochAbove([], 1_001_000_000n) > first);
});
