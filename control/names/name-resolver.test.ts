import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile, type Compiler } from '../compile/compile.js';
import { parseManifests } from '../source/parse.js';
import { admitNames, dueNames, intervalMsOf, nameLimits } from './decide.js';
import { dnsLookup, type ResolvedName } from './lookup.js';
import { NameResolver } from './name-resolver.js';

const entry = (name: string, spec: string, namespace = 'shop'): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
---`;
const ports = 'ports: [{ number: 443, name: tls }]';

/** A resolver over these objects, with the answers in `zone`; a name that is missing there gets no answer. */
function resolverOf(text: string): {
  readonly compiler: Compiler;
  readonly resolver: NameResolver;
  readonly zone: Map<string, ResolvedName>;
  readonly asked: string[];
  readonly limits: string[];
  endpoints(): Record<string, string>;
  /** Runs a turn and lets its queries end, and a second turn, which compiles. */
  run(nowMs: number): Promise<void>;
} {
  const { objects, errors } = parseManifests('x', text);
  assert.deepEqual(errors, []);
  const compiler = compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
  const zone = new Map<string, ResolvedName>();
  const [asked, limits]: string[][] = [[], []];
  const resolver = new NameResolver({
    compiler,
    take: (changed) => void compiler.apply(changed),
    lookup: (name) => {
      asked?.push(name);
      const found = zone.get(name);
      return found ? Promise.resolve(found) : Promise.reject(new Error('timeout'));
    },
    onQuery: () => undefined,
    onLimit: (limit) => limits?.push(limit),
    log: { info: () => undefined, warn: () => undefined },
  });
  return {
    compiler,
    resolver,
    zone,
    asked: asked ?? [],
    limits: limits ?? [],
    endpoints: () => {
      const found: Record<string, string> = {};
      for (const one of compiler.all())
        if (one.kind === 'workload')
          for (const [key, [port]] of one.value.services)
            found[key] = [
              ...(found[key]?.split(' ') ?? []),
              `${one.value.addresses.join()}:${port?.targetPort}`,
            ]
              .sort()
              .join(' ');
      return found;
    },
    async run(nowMs) {
      resolver.turn(nowMs);
      for (let i = 0; i < 5; i++) await turn();
      // No name is due again at this time.
      resolver.turn(0);
    },
  };
}

test('hosts of a ServiceEntry, or the host names of its endpoints, become the addresses that DNS gives', async () => {
  const at = resolverOf(
    entry('direct', `{ hosts: [api.example.com, '*.example.com'], ${ports}, resolution: DNS }`) +
      entry(
        'behind',
        `{ hosts: [pay.example.com], ${ports}, resolution: DNS_ROUND_ROBIN, endpoints: [{ address: Real.example.com, ports: { tls: 8443 } }] }`,
      ),
  );
  at.zone.set('api.example.com', { addresses: ['192.0.2.1', '192.0.2.2'], ttlS: 60 });
  at.zone.set('real.example.com', { addresses: ['192.0.2.3'], ttlS: 60 });
  await at.run(0);
  assert.deepEqual(at.asked.sort(), ['api.example.com', 'real.example.com']);
  assert.deepEqual(at.endpoints(), {
    'shop/api.example.com': '192.0.2.1:443 192.0.2.2:443',
    'shop/pay.example.com': '192.0.2.3:8443',
  });
});

test('a name that no server answers keeps its addresses; one that does not exist loses them', async () => {
  const at = resolverOf(entry('a', `{ hosts: [api.example.com], ${ports}, resolution: DNS }`));
  at.zone.set('api.example.com', { addresses: ['192.0.2.1'], ttlS: 1 });
  await at.run(0);
  const later = performance.now() + 10 * nameLimits.intervalMsMax;
  at.zone.clear();
  await at.run(later);
  assert.equal(at.asked.length, 2);
  assert.equal(at.endpoints()['shop/api.example.com'], '192.0.2.1:443');
  at.zone.set('api.example.com', { addresses: [], ttlS: 60 });
  await at.run(later + 10 * nameLimits.intervalMsMax);
  assert.deepEqual(at.endpoints(), {});
});

test('a name leads to no address of the cluster, of the loopback or of the link, and no name of the cluster is resolved', async () => {
  const at = resolverOf(`${entry(
    'trap',
    `{ hosts: [evil.example.com], ${ports}, resolution: DNS, endpoints: [{ address: evil.example.com }, { address: api.bank.svc.cluster.local }, { address: localhost }] }`,
    'evil',
  )}
kind: Service
metadata: { name: api, namespace: bank }
spec: { clusterIPs: [10.96.0.1], ports: [{ port: 80 }] }
---
kind: Pod
metadata: { name: api, namespace: bank }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.1 }] }
`);
  at.zone.set('evil.example.com', {
    addresses: [
      '127.0.0.1',
      '::1',
      '169.254.169.254',
      'fe80::1',
      '0.0.0.0',
      '224.0.0.1',
      '10.96.0.1',
      '10.0.0.1',
      '192.0.2.9',
    ],
    ttlS: 60,
  });
  await at.run(0);
  assert.deepEqual(at.asked, ['evil.example.com']);
  assert.equal(at.endpoints()['evil/evil.example.com'], '192.0.2.9:443');
});

test('a namespace has a share of the names and of the queries under way', () => {
  const evil = Array.from({ length: 500 }, (_, i) => ({ namespace: 'evil', name: `h${i}.example.com` }));
  const { names, refused } = admitNames([...evil, { namespace: 'shop', name: 'api.example.com' }]);
  assert.equal(names.size, nameLimits.ofNamespace + 1);
  assert.equal(refused, 400);
  const due = dueNames(names, new Map(), 0);
  assert.equal(due.length, nameLimits.underWayOfNamespace + 1);
  assert.ok(due.includes('api.example.com'));
  const under = new Map(due.map((name) => [name, { dueMs: 0, isUnderWay: true }]));
  assert.deepEqual(dueNames(names, under, 0), []);
  assert.equal(intervalMsOf(0), nameLimits.intervalMsMin);
  assert.equal(intervalMsOf(1e9), nameLimits.intervalMsMax);
});

test('a namespace does not delay a name of another by wanting it, too', () => {
  const evil = Array.from({ length: 50 }, (_, i) => ({ namespace: 'evil', name: `a${i}.example.com` }));
  const { names } = admitNames([
    ...evil,
    ...['evil', 'shop'].map((namespace) => ({ namespace, name: 'pay.example.com' })),
  ]);
  const slow = evil.slice(0, 4).map(({ name }) => [name, { dueMs: 0, isUnderWay: true }] as const);
  assert.deepEqual(dueNames(names, new Map(slow), 0), ['pay.example.com']);
});

test('objects with many names cost nothing while they do not change', async () => {
  const { objects } = parseManifests(
    'x',
    entry('a', `{ hosts: [b.example.com, api.example.com, a.example.com], ${ports}, resolution: DNS }`),
  );
  const [object] = objects;
  assert.ok(object?.kind === 'ServiceEntry');
  let reads = 0;
  const { hosts } = object.spec;
  const spec = Object.defineProperty({ ...object.spec }, 'hosts', { get: () => (reads++, hosts) });
  const compiler = compile([{ ...object, spec } as typeof object], {
    trustDomain: parseTrustDomain('cluster.local'),
    rootsVersion: '1',
  });
  const resolver = new NameResolver({
    compiler,
    take: () => undefined,
    lookup: () => Promise.resolve({ addresses: [], ttlS: 60 }),
    onQuery: () => undefined,
    onLimit: () => undefined,
    log: { info: () => undefined, warn: () => undefined },
  });
  resolver.turn(0);
  await turn();
  assert.equal(resolver.size, 3);
  const before = reads;
  resolver.turn(0);
  assert.equal(reads, before);
});

test('names beyond the limit are counted, and are resolved once there is room', async () => {
  const hosts = (count: number): string =>
    Array.from({ length: count }, (_, i) => `h${i}.example.com`).join(', ');
  const at = resolverOf(entry('many', `{ hosts: [${hosts(101)}], ${ports}, resolution: DNS }`));
  await at.run(0);
  assert.deepEqual(at.limits, ['resolved-names']);
  assert.equal(at.resolver.size, nameLimits.underWayOfNamespace * 2);
});

test('a lookup asks a real server for both families: absent names have no addresses, and failures reject', async () => {
  const server = createSocket('udp4');
  server.on('message', (query, from) => {
    // The question ends with its type and class; the name is before them.
    const end = query.indexOf(0, 12) + 5;
    const type = query.readUInt16BE(end - 4);
    const name = query.toString('latin1', 13, end - 5);
    const has = name.startsWith('api') && type === 1;
    const header = Buffer.from(query.subarray(0, 12));
    header.writeUInt16BE(name.startsWith('gone') ? 0x8183 : name.startsWith('broken') ? 0x8182 : 0x8180, 2);
    header.writeUInt16BE(has ? 1 : 0, 6);
    header.writeUInt32BE(0, 8);
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 77, 0, 4, 192, 0, 2, 1]);
    server.send(
      Buffer.concat([header, query.subarray(12, end), ...(has ? [answer] : [])]),
      from.port,
      from.address,
    );
  });
  server.bind(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const lookup = dnsLookup([`127.0.0.1:${server.address().port}`]);
    assert.deepEqual(await lookup('api.example.com'), { addresses: ['192.0.2.1'], ttlS: 77 });
    assert.deepEqual(await lookup('gone.example.com'), { addresses: [], ttlS: 60 });
    await assert.rejects(lookup('broken.example.com'));
  } finally {
    server.close();
  }
});
