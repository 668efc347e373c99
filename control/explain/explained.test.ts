/** Who is sent what: with a table of rights in place of the API server's reviews. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from '../../test/support/fuzz.js';
import { explainLimits } from '../../src/model/explained-mesh.js';
import type { ExplainedMesh } from '../../src/model/explained-mesh.js';
import type { RouteKey } from '../../src/model/route.js';
import type { ServiceKey } from '../../src/model/workload.js';
import { partOf } from '../../src/state/mesh-part.js';
import { loadTexts } from '../migrate/load.js';
import { snapshotOf } from '../policy-mesh/policy-mesh.js';
import { endsOf, ExplainSource, TooMuch } from './explained.js';

const root = 'weft-system';
const pod = (namespace: string, name: string, ip: string): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace, labels: { app: name } },
  spec: { nodeName: 'n1', serviceAccountName: `account-of-${name}`, containers: [] },
  status: { phase: 'Running', podIPs: [{ ip }] },
});
const service = (namespace: string, name: string, ip: string, labels: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace, labels },
  spec: { clusterIPs: [ip], selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }] },
});
const policy = (namespace: string, name: string): object => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AccessPolicy',
  metadata: { name, namespace },
  spec: { action: 'DENY', rules: [{ from: [{ namespaces: ['nowhere'] }] }] },
});
const namespaces = ['shop', 'bank', 'vault', 'infra', root].map((name) => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels: { 'weft.dev/mesh': 'enabled' } },
}));
const objects = [
  ...namespaces,
  pod('shop', 'web', '10.0.0.1'),
  pod('bank', 'teller', '10.0.0.2'),
  pod('vault', 'store', '10.0.0.3'),
  service('shop', 'web', '10.96.0.1', { 'weft.dev/waypoint': 'wp' }),
  service('vault', 'store', '10.96.0.3'),
  {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { name: 'wp', namespace: 'shop' },
    spec: {
      gatewayClassName: 'weft-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
  },
  {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'HTTPRoute',
    metadata: { name: 'partner', namespace: 'shop' },
    spec: {
      parentRefs: [{ group: '', kind: 'Service', name: 'web', port: 80 }],
      rules: [
        {
          matches: [{ headers: [{ name: 'x-beta', value: 'beta-testers' }] }],
          filters: [
            {
              type: 'RequestHeaderModifier',
              requestHeaderModifier: { set: [{ name: 'x-partner-key', value: 'secret-of-the-partner' }] },
            },
          ],
          backendRefs: [{ name: 'web', port: 80 }],
        },
      ],
    },
  },
  policy('shop', 'policy-of-shop'),
  policy('bank', 'policy-of-bank'),
  policy('vault', 'policy-of-vault'),
  policy(root, 'policy-of-all'),
];

const whole = snapshotOf(
  loadTexts([{ file: 'mesh.yaml', text: objects.map((one) => JSON.stringify(one)).join('\n---\n') }]).objects,
  root,
);

interface Asked {
  readonly source?: string;
  readonly identity?: string;
  readonly destination: string;
}
async function sent(
  rights: readonly string[],
  ends: Asked,
): Promise<Pick<ExplainedMesh, 'hidden' | 'ends' | 'resources'> & { readonly text: string }> {
  const source = new ExplainSource({ whole: () => whole, rootNamespace: root });
  const answer = await source.query(ends, (all) =>
    Promise.resolve(new Set(all.filter((one) => rights.includes(one)))),
  );
  const text =
    JSON.stringify(answer) +
    answer.resources.map(({ value }) => Buffer.from(value, 'base64').toString('latin1')).join('\n');
  return { ...answer, text };
}

test('with the right in all namespaces that decide: their resources, and policies of the root namespace, and nothing of others', async () => {
  const { hidden, text } = await sent(['shop', 'bank'], {
    source: 'bank/teller',
    destination: 'shop/web:80',
  });
  assert.deepEqual(hidden, []);
  for (const one of ['policy-of-shop', 'policy-of-all', 'account-of-web', 'account-of-teller'])
    assert.ok(text.includes(one), one);
  assert.doesNotMatch(text, /vault|infra/);
});

test('forbidden: who lacks the right for one end learns anything of that end, or of what is behind it', async () => {
  for (const [rights, ends, hidden] of [
    [['shop'], { source: 'bank/teller', destination: 'shop/web:80' }, ['bank']],
    [['bank'], { source: 'bank/teller', destination: 'shop/web:80' }, ['shop']],
    [['shop'], { source: 'shop/web', destination: 'store.vault.svc.cluster.local:80' }, ['vault']],
    [[], { source: 'bank/teller', destination: 'shop/web:80' }, ['bank', 'shop']],
    // Whether it exists is not told, either.
    [['shop'], { source: 'shop/web', destination: 'vault/nothing:80' }, ['vault']],
    [['shop'], { source: 'shop/web', destination: 'nothing.vault.svc.cluster.local:80' }, ['vault']],
    [['shop'], { source: 'shop/web', destination: 'nothing.vault.svc:80' }, ['vault']],
    [['shop'], { source: 'shop/web', destination: 'nothing.vault:80' }, ['vault']],
    // A short name is one of the client's namespace.
    [['shop'], { source: 'vault/store', destination: 'store:80' }, ['vault', 'of an address']],
    [['shop'], { source: 'vault/store', destination: 'nothing:80' }, ['vault', 'of an address']],
    // An address does not say whose it is.
    [['shop'], { source: 'shop/web', destination: '10.0.0.3:8080' }, ['of an address']],
    [['shop'], { source: '10.0.0.2', destination: 'shop/web:80' }, ['of an address']],
    // Nor does a guess elsewhere in the question.
    [['shop'], { source: 'shop/vault', destination: '10.0.0.3:8080' }, ['of an address']],
    [['shop'], { source: 'vault/any', destination: '10.0.0.3:8080' }, ['vault', 'of an address']],
    [['shop'], { source: 'bank/any', destination: '10.0.0.3:8080' }, ['bank', 'of an address']],
    [
      ['shop'],
      { identity: 'spiffe://cluster.local/ns/vault/sa/any', destination: '10.0.0.3:8080' },
      ['of an address'],
    ],
  ] as const) {
    const answer = await sent(rights, ends);
    assert.deepEqual(answer.hidden, hidden, JSON.stringify(ends));
    const [only] = rights;
    if (only === undefined) assert.deepEqual([answer.resources, answer.ends], [[], []]);
    const others = ['shop', 'bank', 'vault'].filter((one) => one !== only);
    assert.doesNotMatch(answer.text, new RegExp(`policy-of-(${others.join('|')})`));
    const names = { shop: 'web', bank: 'teller', vault: 'store' } as const;
    for (const [i, one] of (['shop', 'bank', 'vault'] as const).entries())
      if (one !== only) {
        assert.ok(!answer.text.includes(`account-of-${names[one]}`), JSON.stringify(ends));
        for (const ip of [`10.0.0.${i + 1}`, `10.96.0.${i + 1}`])
          assert.ok(!answer.text.includes(ip), JSON.stringify(ends));
      }
  }
});

test('who may read one end gets what concerns that end, the same whatever the other end is', async () => {
  const alone = async (
    rights: readonly string[],
    ends: Asked,
  ): Promise<readonly [readonly string[], string]> => {
    const { ends: readable, resources } = await sent(rights, ends);
    return [readable, JSON.stringify(resources)];
  };
  const destination = await alone(['shop'], { source: 'bank/teller', destination: 'shop/web:80' });
  assert.deepEqual(destination[0], ['destination']);
  for (const source of ['bank/nobody', 'vault/store', 'nowhere/x', '10.0.0.2'])
    assert.deepEqual(await alone(['shop'], { source, destination: 'shop/web:80' }), destination);
  const source = await alone(['bank'], { source: 'bank/teller', destination: 'shop/web:80' });
  assert.deepEqual(source[0], ['source']);
  for (const other of [
    'shop/nothing:80',
    'vault/store:80',
    'store.vault.svc.cluster.local:80',
    'nothing.vault.svc.cluster.local:80',
    'store.vault:80',
    'nothing.vault:80',
    '10.0.0.3:8080',
  ])
    assert.deepEqual(await alone(['bank'], { source: 'bank/teller', destination: other }), source);
  const { text } = await sent(['bank'], { source: 'bank/teller', destination: 'shop/web:80' });
  // Addresses and names of resources are encoded.
  assert.match(text, /account-of-teller/);
  assert.match(
    (await sent(['shop'], { source: 'bank/x', destination: 'shop/web:80' })).text,
    /policy-of-shop/,
  );
});

test('forbidden: of a readable end of which something lies in a namespace that the caller may not read anything is told', async () => {
  const elsewhere = snapshotOf(
    loadTexts([
      {
        file: 'mesh.yaml',
        text: objects
          .map((one) =>
            JSON.stringify(one).replace(
              '"weft.dev/waypoint":"wp"',
              '"weft.dev/waypoint":"wp","weft.dev/waypoint-namespace":"infra"',
            ),
          )
          .concat(
            JSON.stringify({
              apiVersion: 'gateway.networking.k8s.io/v1',
              kind: 'Gateway',
              metadata: { name: 'wp', namespace: 'infra' },
              spec: {
                gatewayClassName: 'weft-waypoint',
                listeners: [
                  {
                    name: 'mesh',
                    port: 15008,
                    protocol: 'HBONE',
                    allowedRoutes: { namespaces: { from: 'All' } },
                  },
                ],
              },
            }),
            JSON.stringify(service('infra', 'wp', '10.96.0.9')),
          )
          .join('\n---\n'),
      },
    ]).objects,
    root,
  );
  const source = new ExplainSource({ whole: () => elsewhere, rootNamespace: root });
  const query = (rights: readonly string[]): Promise<ExplainedMesh> =>
    source.query({ source: 'bank/teller', destination: 'shop/web:80' }, (all) =>
      Promise.resolve(new Set(all.filter((one) => rights.includes(one)))),
    );
  assert.deepEqual((await query(['shop'])).ends, []);
  assert.deepEqual((await query(['shop', 'infra'])).ends, ['destination']);
  assert.deepEqual((await query(['shop'])).resources, []);
});

test('a client that is named by its identity needs no right in its namespace, and its pods are not told', async () => {
  const identity = 'spiffe://cluster.local/ns/bank/sa/account-of-teller';
  const some = await sent(['shop'], { identity, destination: 'shop/web:80' });
  assert.deepEqual(some.hidden, []);
  assert.match(some.text, /policy-of-shop/);
  assert.doesNotMatch(some.text, /teller|policy-of-bank/);
  const all = await sent(['shop', 'bank'], { identity, destination: 'shop/web:80' });
  assert.match(all.text, /account-of-teller/);
});

test('values of headers that a route sets are not sent, and those that it matches are', async () => {
  const { text } = await sent(['shop', 'bank'], { source: 'bank/teller', destination: 'shop/web:80' });
  assert.match(text, /x-partner-key/);
  assert.match(text, /beta-testers/);
  assert.doesNotMatch(text, /secret-of-the-partner/);
});

test('what concerns more than a response may have is not sent', async () => {
  const [like] = whole.mesh.workloads ?? [];
  assert.ok(like);
  const workloads = Array.from({ length: explainLimits.resources + 1 }, (_, i) => ({
    ...like,
    uid: `${like.uid}-${i}` as typeof like.uid,
  }));
  const source = new ExplainSource({
    whole: () => ({ ...whole, mesh: { ...whole.mesh, workloads } }),
    rootNamespace: root,
  });
  const ends = { source: `${like.namespace}/${like.name}`, destination: 'shop/web:80' };
  await assert.rejects(
    source.query(ends, (all) => Promise.resolve(new Set(all))),
    TooMuch,
  );
});

test('forbidden: a chain of routes makes the control plane search again and again', async () => {
  const [like] = whole.mesh.services ?? [];
  const [route] = whole.routes;
  assert.ok(like && route);
  const keyOf = (i: number): ServiceKey => `shop/s-${i}.shop.svc.cluster.local` as ServiceKey;
  const services = Array.from({ length: 100 }, (_, i) => ({ ...like, key: keyOf(i), name: `s-${i}` }));
  // In the order in which a search finds one of them in each turn.
  const routes = services
    .map((_one, i) => ({
      ...route,
      key: `HTTPRoute/shop/r-${i}` as RouteKey,
      parents: [{ service: keyOf(i) }],
      rules: route.rules.map((rule) => ({
        ...rule,
        backends: rule.backends.map((one) => ({
          ...one,
          target: { kind: 'service' as const, service: keyOf(i + 1), port: 80 },
        })),
      })),
    }))
    .reverse();
  const source = new ExplainSource({
    whole: () => ({ ...whole, mesh: { ...whole.mesh, services }, routes }),
    rootNamespace: root,
  });
  await assert.rejects(
    source.query({ source: 'shop/web', destination: 'shop/s-0:80' }, (all) => Promise.resolve(new Set(all))),
    TooMuch,
  );
  // Who may not read it does not learn how long it is.
  for (const destination of ['shop/s-0:80', 'shop/nothing:80']) {
    const { hidden, resources } = await source.query({ source: 'bank/teller', destination }, (all) =>
      Promise.resolve(new Set(all.filter((one) => one !== 'shop'))),
    );
    assert.deepEqual([hidden, resources.some(({ name }) => name.includes('shop'))], [['shop'], false]);
  }
});

test('a question names one client and a destination, none of them too long; any other is none', () => {
  const of = (text: string) => endsOf(new URLSearchParams(text));
  assert.deepEqual(of('source=shop/web&destination=shop/api:80'), {
    source: 'shop/web',
    identity: undefined,
    destination: 'shop/api:80',
  });
  for (const text of [
    '',
    'source=a',
    'destination=b',
    'source=a&identity=b&destination=c',
    `source=${'a'.repeat(600)}&destination=b`,
  ])
    assert.equal(of(text), undefined, text);
});

test('no question makes the search fail, and none finds more than there is', () => {
  const seeds = [
    'shop/web',
    'web.shop.svc:80',
    '[::1]:80',
    '10.0.0.1:8080',
    'spiffe://cluster.local/ns/shop/sa/web',
  ];
  fuzz(
    seeds.map((one) => Buffer.from(one)),
    (bytes) => {
      const text = Buffer.from(bytes).toString('latin1');
      for (const ends of [
        { source: text, destination: text },
        { identity: text, destination: text },
      ]) {
        const { snapshot } = partOf(whole, ends);
        assert.ok((snapshot.mesh.workloads ?? []).length <= (whole.mesh.workloads ?? []).length);
      }
    },
  );
});
