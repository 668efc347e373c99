/** Whatever was observed: the suggested policies are valid, and refuse nothing of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { snapshotOf } from '../../control/policy-mesh/policy-mesh.js';
import { loadTexts } from '../../control/migrate/load.js';
import { callsOf, type Call } from '../../src/cli/policy/calls.js';
import { policyDiff } from '../../src/cli/policy/diff.js';
import { PolicyMesh } from '../../src/cli/policy/policy-mesh.js';
import { suggest } from '../../src/cli/policy/suggest.js';
import { suggestionLines } from '../../src/cli/policy/suggest-text.js';
import { otherName, type Edge, type EdgeParty } from '../../src/model/edge.js';
import type { SpiffeId } from '../../src/model/identity.js';
import { pathTemplate } from '../../src/telemetry/path-template.js';
import { randomOf } from '../support/random.js';

type Random = (below: number) => number;
const pick = <T>(random: Random, list: readonly T[]): T => list[random(list.length)] as T;

const apps = ['orders', 'cart', 'pay', 'web'];
/** Pods, of which some have labels that do not tell their workload, Services, of which some have a waypoint, and some policies. */
function manifests(random: Random): string {
  const parts = [
    'kind: Namespace\napiVersion: v1\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled } }',
    'apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: wp, namespace: shop }\nspec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }',
  ];
  apps.forEach((app, i) => {
    const label = pick(random, ['app', 'app.kubernetes.io/name', 'tier']);
    for (let n = 0; n <= random(2); n++)
      parts.push(
        `apiVersion: v1\nkind: Pod\nmetadata: { name: ${app}-${n}, namespace: shop, labels: { ${label}: ${app}, x: y } }\nspec: { nodeName: a, serviceAccountName: ${app} }\nstatus: { podIPs: [{ ip: 10.1.${i}.${n + 1} }] }`,
      );
    const waypoint = random(2) === 0 ? ', labels: { weft.dev/waypoint: wp }' : '';
    parts.push(
      `apiVersion: v1\nkind: Service\nmetadata: { name: ${app}, namespace: shop${waypoint} }\nspec: { clusterIP: 10.96.0.${i + 1}, selector: { ${label}: ${app} }, ports: [{ name: http, port: 80, targetPort: 8080 }, { name: tcp, port: 6379 }] }`,
    );
    if (random(3) === 0)
      parts.push(
        `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: old-${app}, namespace: shop }\nspec: ${pick(
          random,
          [
            `{ action: DENY, selector: { matchLabels: { ${label}: ${app} } }, rules: [{ from: [{ serviceAccounts: [shop/pay] }] }] }`,
            `{ action: ALLOW, selector: { matchLabels: { ${label}: ${app} } }, rules: [{ from: [{ namespaces: [shop] }], to: [{ ports: [8080], paths: ['/orders*'] }] }] }`,
            '{ action: DENY, rules: [{ from: [{ cidrs: [192.0.2.0/24] }] }] }',
          ],
        )}`,
      );
  });
  return parts.join('\n---\n');
}

const clients: readonly (readonly [string, string, string | undefined])[] = [
  ...apps.map((app) => ['shop', app, `spiffe://cluster.local/ns/shop/sa/${app}`] as const),
  ['far', 'x', 'spiffe://cluster.local/ns/far/sa/x'],
  ['far', 'y', 'spiffe://other.domain/ns/far/sa/y'],
  ['far', 'Z', 'spiffe://cluster.local/other/form'],
  ['', '', undefined],
];
const party = ([namespace, workload, identity]: (typeof clients)[number], pod = ''): EdgeParty => ({
  namespace,
  workload,
  pod,
  identity: identity as SpiffeId | undefined,
});
const other: EdgeParty = { namespace: otherName, workload: otherName, pod: otherName, identity: undefined };

function edges(random: Random): Edge[] {
  return Array.from({ length: random(40) }, (): Edge => {
    const app = pick(random, apps);
    const isRequest = random(2) === 0;
    const path = pick(random, [
      '/orders/17',
      '/orders',
      '/orders/',
      '/a//b',
      '/x/../y',
      '/.',
      '*',
      '/1/2/3/4/5/6/7/8/9/10',
      '/users/7d1f0c93/"odd": path #',
      '/café',
      '/yes/no/v1.2:x',
    ]);
    const passed = random(4) === 0 ? 0 : 1 + random(1000);
    return {
      reporter: isRequest ? 'waypoint' : pick(random, ['source', 'destination'] as const),
      source: random(12) === 0 ? other : party(pick(random, clients)),
      destination: party(
        ['shop', app, `spiffe://cluster.local/ns/shop/sa/${app}`],
        random(2) === 0 ? `${app}-0` : '',
      ),
      service: random(2) === 0 ? `${app}.shop.svc.cluster.local` : '',
      port: random(10) === 0 ? 0 : pick(random, [8080, 6379]),
      path: isRequest ? 'waypoint' : pick(random, ['kernel', 'hbone', 'inbound-plain']),
      method: isRequest ? pick(random, ['GET', 'POST', 'ON', 'get', otherName]) : '',
      pathTemplate: isRequest ? pathTemplate(path) : '',
      policy: '',
      counts: {
        connections: isRequest ? 0 : passed,
        refused: random(3),
        audited: 0,
        bytesSent: 0,
        bytesReceived: 0,
        requests: isRequest ? passed : 0,
        failures: 0,
        latencyCounts: [],
        lastSeenMs: 1_700_000_000_000 + random(1_000_000),
      },
    };
  });
}

test('suggested policies are valid and refuse nothing that was seen; what no rule can name is said', () => {
  let suggested = 0;
  let enforced = 0;
  for (let seed = 0; seed < 150; seed++) {
    const random = randomOf(seed);
    const current = [{ file: 'mesh.yaml', text: manifests(random) }];
    const loaded = loadTexts(current);
    assert.deepEqual(loaded.problems, []);
    const before = new PolicyMesh(snapshotOf(loaded.objects, 'weft-system'));
    const seen = callsOf(edges(random));
    const suggestion = suggest('shop', seen, before);
    const text = [...suggestionLines(suggestion, ['watched only 3m of 1h'])].join('\n');
    const added = loadTexts([{ file: 'suggested.yaml', text }]);
    assert.deepEqual(added.problems, [], `seed ${seed}\n${text}`);
    for (const { errors } of added.sources) assert.deepEqual(errors, [], `seed ${seed}\n${text}`);
    assert.equal(added.objects.length, suggestion.policies.length);
    suggested += suggestion.policies.length;
    enforced += suggestion.policies.filter(({ unnamed }) => unnamed.length === 0).length;
    const all = loadTexts([...current, { file: 'suggested.yaml', text }]);
    const after = new PolicyMesh(snapshotOf(all.objects, 'weft-system'));
    const passed = seen.filter((call) => call.passed > 0);
    const refused = policyDiff(passed, before, after).changes.filter(
      ({ kind }) => kind === 'newly-denied' || kind === 'may-change',
    );
    assert.deepEqual(
      refused.map(({ call, after: is }) => [call, is]),
      [],
      `seed ${seed}\n${text}`,
    );
    // Every call to the namespace that passed is in a rule, or is named in a comment.
    const textOf = ({ source, method, pathTemplate: path, lastSeenMs, passed: count }: Call): string =>
      JSON.stringify([source.identity, source.isOther, method, path, lastSeenMs, count]);
    const said = new Set(
      suggestion.policies
        .flatMap(({ rules, unnamed }) => [
          ...rules.flatMap(({ calls }) => calls),
          ...unnamed.map(({ call }) => call),
        ])
        .map(textOf),
    );
    for (const call of passed)
      if (!said.has(textOf(call)))
        assert.ok(
          suggestion.remarks.some((one) => one.includes(`/${call.destination.workload}`)),
          `seed ${seed}: ${JSON.stringify(call)}`,
        );
  }
  assert.ok(suggested > 100 && enforced > 20, `${suggested} ${enforced}`);
});

test('a client that was not seen is refused by the suggested policies, and so is what a seen client did not ask', () => {
  const text = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Pod
metadata: { name: orders, namespace: shop, labels: { app: orders } }
spec: { nodeName: a, serviceAccountName: orders }
status: { podIPs: [{ ip: 10.1.1.1 }] }
`;
  const before = new PolicyMesh(snapshotOf(loadTexts([{ file: 'mesh.yaml', text }]).objects, 'weft-system'));
  const seen = (account: string, port: number): Edge => ({
    reporter: 'destination',
    source: party(['shop', account, `spiffe://cluster.local/ns/shop/sa/${account}`]),
    destination: party(['shop', 'orders', undefined], 'orders'),
    service: '',
    port,
    path: 'kernel',
    method: '',
    pathTemplate: '',
    policy: '',
    counts: {
      connections: 1,
      refused: 0,
      audited: 0,
      bytesSent: 0,
      bytesReceived: 0,
      requests: 0,
      failures: 0,
      latencyCounts: [],
      lastSeenMs: 1,
    },
  });
  const suggestion = suggest('shop', callsOf([seen('web', 80)]), before);
  const yaml = [...suggestionLines(suggestion, [])].join('\n');
  const after = new PolicyMesh(
    snapshotOf(
      loadTexts([
        { file: 'mesh.yaml', text },
        { file: 'new.yaml', text: yaml },
      ]).objects,
      'weft-system',
    ),
  );
  const kinds = (...calls: Edge[]): string[] =>
    policyDiff(callsOf(calls), before, after).changes.map(({ kind }) => kind);
  assert.deepEqual(kinds(seen('web', 80)), []);
  assert.deepEqual(kinds(seen('web', 81)), ['newly-denied']);
  assert.deepEqual(kinds(seen('intruder', 80)), ['newly-denied']);
});
