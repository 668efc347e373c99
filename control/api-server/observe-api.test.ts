/** Who reads which edges and changes: with a table of rights in place of the API server's reviews, which test/control/aggregated-api.test.ts asks for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge, party } from '../../test/support/edges.js';
import { fuzz } from '../../test/support/fuzz.js';
import type { Change } from '../../src/model/change.js';
import { otherName, type Edge, type EdgeQuery } from '../../src/model/edge.js';
import type { ResourceAttributes } from './authorizer.js';
import { computedRates, ComputedRates } from './computed-rates.js';
import { edgeForReader } from './edges-view.js';
import { ObserveApi, parseObservedRequest } from './observe-api.js';
import { StatusError } from './status.js';

const root = 'https://localhost/apis/observe.weft.dev/v1alpha1/';
const reader = { user: 'reader', groups: [], extra: {} };

/** An API whose user may list in these namespaces; empty: in all. */
function apiOf(rights: readonly string[], edges: readonly Edge[] = [], changes: readonly Change[] = []) {
  const asked: EdgeQuery[] = [];
  const reviewed: ResourceAttributes[] = [];
  const limits: string[] = [];
  const onLimit = (limit: string): void => void limits.push(limit);
  const api = new ObserveApi({
    edges: {
      query: (query) => {
        asked.push(query);
        return Promise.resolve({
          edges,
          sinceMs: 7,
          missing: ['10.0.0.9'],
          ...(query.isBySlot === true ? { isBySlot: true } : {}),
        });
      },
    },
    changes: {
      query: (query) => {
        asked.push(query);
        return Promise.resolve({ changes, sinceMs: 7, missing: [] });
      },
    },
    explanations: { query: () => Promise.reject(new Error('not asked')) },
    taps: { open: () => undefined },
    authorizer: {
      isAllowed: (_user, attributes) => {
        reviewed.push(attributes);
        return Promise.resolve(rights.includes(attributes.namespace));
      },
    },
    rootNamespace: 'weft-system',
    rates: new ComputedRates(onLimit),
    onLimit,
  });
  const read = (path: string, accept?: string) => api.respond(reader, new URL(root + path), accept);
  return { read, asked, reviewed, limits };
}
const itemsOf = (body: object): readonly Edge[] => (body as { readonly items: readonly Edge[] }).items;

const fromBank = edge({
  source: party('bank', 'teller', { pod: 'teller-1' }),
  destination: party('shop', 'web', { pod: 'web-1' }),
  policy: 'shop/guard',
});
const toVault = edge({
  source: party('shop', 'web', { pod: 'web-1' }),
  destination: party('vault', 'store', { pod: 'store-1' }),
  service: 'store.vault.svc.cluster.local',
  policy: 'vault/secret-policy',
});

test('forbidden: counts by slot tell a reader of one namespace no more names than their sum, and nothing of others', async () => {
  const slot = { atMs: 30_000, connections: 1, requests: 0, failures: 0, refused: 0 };
  const counts = { ...toVault.counts, slots: [slot] };
  const { read, asked, reviewed } = apiOf(['shop'], [{ ...toVault, counts }]);
  const { body } = await read('namespaces/shop/edges?bySlot=true');
  assert.deepEqual(asked, [{ namespace: 'shop', sinceMs: 0, isBySlot: true }]);
  assert.equal((body as { readonly isBySlot?: boolean }).isBySlot, true);
  const [one] = itemsOf(body);
  assert.deepEqual([one?.destination.workload, one?.policy, one?.counts.slots], ['', '', [slot]]);
  assert.ok(reviewed.every(({ resource }) => resource === 'edges'));
  await assert.rejects(read('namespaces/vault/edges?bySlot=true'), StatusError);
  await assert.rejects(read('edges?bySlot=true'), StatusError);
  assert.equal(asked.length, 1);
});

test('the right is that to list edges, in the namespace or in all', async () => {
  const { read, asked, reviewed } = apiOf(['']);
  const { body } = await read('edges?sinceMs=5');
  assert.deepEqual(body, {
    kind: 'EdgeList',
    apiVersion: 'observe.weft.dev/v1alpha1',
    metadata: {},
    items: [],
    sinceMs: 7,
    missing: ['10.0.0.9'],
  });
  assert.deepEqual(asked, [{ namespace: undefined, sinceMs: 5 }]);
  const right = { group: 'observe.weft.dev', version: 'v1alpha1', resource: 'edges', verb: 'list' };
  assert.deepEqual(reviewed, [{ ...right, namespace: '' }]);
});

test('forbidden: edges are read, or computed, without the right; the refusal names it', async () => {
  const { read, asked } = apiOf(['shop']);
  for (const [path, where] of [
    ['edges', 'at the cluster scope'],
    ['namespaces/bank/edges', 'in the namespace "bank"'],
  ] as const)
    await assert.rejects(read(path), (error: unknown) => {
      assert.ok(error instanceof StatusError);
      assert.equal(error.code, 403);
      assert.equal(
        error.message,
        `edges.observe.weft.dev is forbidden: User "reader" cannot list resource "edges" in API group "observe.weft.dev" ${where}`,
      );
      return true;
    });
  assert.deepEqual(asked, []);
});

test('forbidden: a reader of one namespace learns workloads, pods or policies of another', async () => {
  const { body } = await apiOf(['shop'], [fromBank, toVault]).read('namespaces/shop/edges');
  assert.doesNotMatch(JSON.stringify(body), /teller-1|store-1|secret-policy|"workload":"(?:teller|store)"/);
  const [from, to] = itemsOf(body);
  assert.deepEqual(
    from?.source,
    { ...fromBank.source, workload: '', pod: '' },
    'its identity is proven to the server',
  );
  assert.deepEqual([from?.destination, from?.policy], [fromBank.destination, 'shop/guard']);
  assert.deepEqual([to?.source, to?.service], [toVault.source, toVault.service], 'what it dials');
});

test('a reader of several namespaces, or of all, sees the names of these', async () => {
  const some = await apiOf(['shop', 'bank'], [fromBank, toVault]).read('namespaces/shop/edges');
  assert.deepEqual(itemsOf(some.body)[0], fromBank);
  assert.equal(itemsOf(some.body)[1]?.destination.pod, '');
  const all = await apiOf(['', 'shop'], [fromBank, toVault]).read('namespaces/shop/edges');
  assert.deepEqual(itemsOf(all.body), [fromBank, toVault]);
});

test('policies of the root namespace, which apply to all, are named; what is beyond the limits stays other', () => {
  const other = party('bank', otherName, { pod: otherName, identity: undefined });
  const one = edge({ source: other, destination: party('shop', 'web'), policy: 'weft-system/mesh-wide' });
  assert.deepEqual(edgeForReader(one, new Set(['shop']), 'weft-system'), one);
  const named = { ...one, source: party('bank', otherName, { pod: 'other-1' }) };
  const { source } = edgeForReader(named, new Set(['shop']), 'weft-system');
  assert.deepEqual([source.workload, source.pod], ['', ''], 'a workload with the name other');
});

test('policies are named to readers of all of their namespaces, whatever decided: connections, tokens, rates, decisions', async () => {
  const to = (namespace: string, policy: string) =>
    edge({ source: party('shop', 'web'), destination: party(namespace, 'api'), policy });
  const own = [
    'AuthenticationPolicy shop/users',
    'TrafficPolicy shop/limits orders',
    'HTTPRoute shop/echo/canary',
    'RequestAuthentication weft-system/all, shop/users',
    'weft-system/mesh-wide,shop/guard',
  ].map((policy) => to('shop', policy));
  const foreign = [
    'AuthenticationPolicy vault/secret',
    'TrafficPolicy vault/secret orders',
    'RequestAuthentication weft-system/all, vault/secret',
    'weft-system/mesh-wide,vault/secret',
    'shop/guard,vault/secret',
  ].map((policy) => to('vault', policy));
  const { read, reviewed } = apiOf(['shop'], [...own, ...foreign]);
  const items = itemsOf((await read('namespaces/shop/edges')).body);
  assert.deepEqual(items.slice(0, own.length), own);
  assert.deepEqual([...new Set(items.slice(own.length).map(({ policy }) => policy))], ['']);
  assert.deepEqual([...new Set(reviewed.map(({ namespace }) => namespace))].sort(), [
    '',
    'shop',
    'vault',
    'weft-system',
  ]);
});

test('the right is asked for at most 64 namespaces of peers; the workloads of further ones are not named, and a warning says so', async () => {
  const edges = Array.from({ length: 70 }, (_, i) =>
    edge({ source: party(`ns-${i}`, `client-${i}`), destination: party('shop', 'web') }),
  );
  const rights = ['shop', ...edges.map(({ source }) => source.namespace)];
  const { read, limits } = apiOf(rights, edges);
  const { body, warnings } = await read('namespaces/shop/edges');
  assert.equal(itemsOf(body).filter(({ source }) => source.workload !== '').length, 64);
  assert.deepEqual(warnings, [
    'incomplete: 1 replicas of the control plane did not answer',
    'workloads of 6 namespaces are not named',
  ]);
  assert.deepEqual(limits, ['metrics-api-peers']);
});

test('kubectl gets a table, in which the same names are left out', async () => {
  const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';
  const { read } = apiOf(['shop'], [fromBank, toVault]);
  const { body } = await read('namespaces/shop/edges', accept);
  const { kind, rows } = body as {
    readonly kind: string;
    readonly rows: readonly { readonly cells: unknown }[];
  };
  assert.equal(kind, 'Table');
  assert.deepEqual(
    rows.map(({ cells }) => cells),
    [
      ['spiffe://cluster.local/ns/bank/sa/teller', 'shop/web', 8080, '', 'source', 1, 0, 0],
      ['shop/web', 'store.vault.svc.cluster.local', 8080, '', 'source', 1, 0, 0],
    ],
  );
});

const change: Change = {
  kind: 'AccessPolicy',
  namespace: 'shop',
  name: 'guard',
  operation: 'updated',
  timeMs: 1_000,
  resources: 1,
  by: 'kubectl',
  receivers: [
    { name: 'n1', acknowledgedMs: 1_010 },
    { name: 'n2', acknowledgedMs: 1_020, refused: 'bank/secret-policy: not understood' },
    { name: 'waypoint:shop/wp/wp-1', acknowledgedMs: 1_030 },
    { name: 'waypoint:bank/secret-wp/wp-2' },
  ],
  omitted: { acknowledged: 4, waiting: 1 },
};

test('who may list changes of all namespaces reads them as they are', async () => {
  const { read, asked, reviewed } = apiOf([''], [], [change]);
  assert.deepEqual((await read('changes?sinceMs=5')).body, {
    kind: 'ChangeList',
    apiVersion: 'observe.weft.dev/v1alpha1',
    metadata: {},
    items: [change],
    sinceMs: 7,
    missing: [],
  });
  assert.deepEqual(asked, [{ namespace: undefined, sinceMs: 5 }]);
  const right = { group: 'observe.weft.dev', version: 'v1alpha1', resource: 'changes', verb: 'list' };
  assert.deepEqual(reviewed, [{ ...right, namespace: '' }]);
});

test('forbidden: changes are read without the right; the refusal names it', async () => {
  const { read, asked } = apiOf(['shop'], [], [change]);
  for (const path of ['changes', 'namespaces/bank/changes'])
    await assert.rejects(read(path), (error: unknown) => {
      assert.ok(error instanceof StatusError);
      assert.equal(error.code, 403);
      assert.match(error.message, /cannot list resource "changes" in API group "observe\.weft\.dev"/);
      return true;
    });
  assert.deepEqual(asked, []);
});

test('forbidden: a reader of one namespace learns waypoints or resources of another by a change', async () => {
  const { read, asked } = apiOf(['shop'], [], [change]);
  const { body } = await read('namespaces/shop/changes');
  assert.doesNotMatch(JSON.stringify(body), /bank|secret/);
  const [one] = (body as { readonly items: readonly Change[] }).items;
  assert.deepEqual(
    one?.receivers.map(({ name }) => name),
    ['n1', 'n2', 'waypoint:shop/wp/wp-1', 'waypoint of another namespace'],
  );
  assert.match(one?.receivers[1]?.refused ?? '', /not accepted/);
  assert.deepEqual(asked, [{ namespace: 'shop', sinceMs: 0 }]);
});

test('kubectl gets changes as a table', async () => {
  const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';
  const { body } = await apiOf(['shop'], [], [change]).read('namespaces/shop/changes', accept);
  const { rows } = body as { readonly rows: readonly { readonly cells: unknown }[] };
  assert.deepEqual(
    rows.map(({ cells }) => cells),
    [['guard', 'AccessPolicy', 'updated', '1970-01-01T00:00:01.000Z', 'kubectl', '7 of 9']],
  );
});

test('a user who reads too often waits', async () => {
  const { read, limits } = apiOf(['']);
  for (let i = 0; i < computedRates.perUser.burst; i++) await read('edges');
  await assert.rejects(read('edges'), { code: 429 });
  assert.deepEqual(limits, ['metrics-api-rate']);
});

test('other paths, watches and times that are none are refused', async () => {
  const { read } = apiOf(['', 'shop']);
  for (const [path, code] of [
    ['edges/one', 404],
    ['changes/one', 404],
    ['changes?watch=1', 405],
    ['namespaces/shop/changes?sinceMs=x', 400],
    ['namespaces/shop/edges/one', 404],
    ['namespaces/Shop/edges', 404],
    ['namespaces//edges', 404],
    ['namespaces/shop', 404],
    ['pods', 404],
    ['edges?watch=true', 405],
    ['edges?sinceMs=-1', 400],
    ['edges?sinceMs=1e9', 400],
  ] as const)
    await assert.rejects(read(path), { code }, path);
});

test('no URL throws past the parser', () => {
  fuzz([Buffer.from('namespaces/shop/edges?sinceMs=5&watch=1'), Buffer.from('changes')], (some) => {
    try {
      parseObservedRequest(new URL(root + Buffer.from(some).toString('latin1')));
    } catch (error) {
      // A URL that cannot be parsed is refused before.
      assert.ok(error instanceof StatusError || error instanceof TypeError, String(error));
    }
  });
});
