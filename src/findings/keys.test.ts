import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Annotations, Labels } from '../model/labels.js';
import { keyFindings, type KeyedKind } from './keys.js';

const of = (kind: KeyedKind, labels: Labels, annotations: Annotations = {}): string[] =>
  keyFindings(kind, [{ metadata: { name: 'x', namespace: 'shop', labels, annotations } }]).map(
    ({ level, what }) => `${level} ${what}`,
  );

for (const [name, kind, labels, annotations, expected] of [
  ['what is right', 'Namespace', { 'weft.dev/mesh': 'enabled', 'weft.dev/waypoint': 'w' }, {}, undefined],
  [
    'what is of others',
    'Pod',
    { app: 'a', 'istio.io/rev': 'default' },
    { 'example.com/mode': 'x' },
    undefined,
  ],
  [
    'a value that nobody knows',
    'Namespace',
    { 'weft.dev/mesh': 'true' },
    {},
    /^fail Namespace x: label weft\.dev\/mesh: "true" is unknown/,
  ],
  // Keys that are meant as a protection.
  [
    'mode, mistyped',
    'Namespace',
    { 'weft.dev/mdoe': 'strict' },
    {},
    /^fail .*\(did you mean weft\.dev\/mode\?\); it has no effect/,
  ],
  ['mesh, mistyped', 'Pod', { 'weft.dev/Mesh': 'enabled' }, {}, /^fail .*did you mean weft\.dev\/mesh\?/],
  [
    'waypoint, mistyped',
    'Service',
    { 'weft.dev/waypont': 'w' },
    {},
    /^fail .*did you mean weft\.dev\/waypoint\?/,
  ],
  [
    'mode as an annotation',
    'Namespace',
    {},
    { 'weft.dev/mode': 'strict' },
    /^fail .*it is a label, not an annotation/,
  ],
  [
    'mode on a Service',
    'Service',
    { 'weft.dev/mode': 'strict' },
    {},
    /^fail Service shop\/x: label weft\.dev\/mode is not read on a Service/,
  ],
  ['a waypoint on a pod', 'Pod', { 'weft.dev/waypoint': 'w' }, {}, /^fail .*not read on a Pod/],
  [
    'the namespace of a waypoint alone',
    'Service',
    { 'weft.dev/waypoint-namespace': 'infra' },
    {},
    /^fail .*no effect without weft\.dev\/waypoint/,
  ],
  // Keys without a risk.
  [
    'a key of which nobody knows what it means',
    'Namespace',
    { 'weft.dev/team': 'a' },
    {},
    /^warn .*label weft\.dev\/team is unknown/,
  ],
  [
    'an exclusion, mistyped',
    'Pod',
    {},
    { 'weft.dev/exclude-inbound-port': '80' },
    /^warn .*did you mean weft\.dev\/exclude-inbound-ports\?/,
  ],
  [
    'export, mistyped',
    'Namespace',
    { 'weft.dev/exprot': 'enabled' },
    {},
    /^warn .*did you mean weft\.dev\/export\?/,
  ],
  // Timeouts of waypoints.
  [
    "a Gateway's clocks",
    'Gateway',
    {},
    { 'weft.dev/request-head-timeout': '5s', 'weft.dev/stream-idle-timeout': '1h' },
    undefined,
  ],
  ["a route's clock", 'GRPCRoute', {}, { 'weft.dev/stream-idle-timeout': '0s' }, undefined],
  [
    'a clock, mistyped',
    'HTTPRoute',
    {},
    { 'weft.dev/stream-idle-timout': '1h' },
    /^warn HTTPRoute shop\/x: annotation .* is unknown: did you mean weft\.dev\/stream-idle-timeout\?/,
  ],
  [
    "a Gateway's clock on a route",
    'HTTPRoute',
    {},
    { 'weft.dev/request-head-timeout': '5s' },
    /^warn .*annotation weft\.dev\/request-head-timeout is not read on an HTTPRoute/,
  ],
  [
    'a clock of requests on a route of bytes',
    'TCPRoute',
    {},
    { 'weft.dev/stream-idle-timeout': '1h' },
    /^warn .*not read on a TCPRoute/,
  ],
  [
    'a clock as a label',
    'Gateway',
    { 'weft.dev/stream-idle-timeout': '1h' },
    {},
    /^warn .*label weft\.dev\/stream-idle-timeout is unknown: it is an annotation, not a label/,
  ],
  ['how a waypoint reads //', 'Gateway', {}, { 'weft.dev/merge-slashes': 'disabled' }, undefined],
  [
    'how a waypoint reads //, with an unknown value',
    'Gateway',
    {},
    { 'weft.dev/merge-slashes': 'off' },
    /^fail Gateway shop\/x: .*"off" is unknown: expected enabled or disabled/,
  ],
  [
    'how a waypoint reads //, on a route',
    'HTTPRoute',
    {},
    { 'weft.dev/merge-slashes': 'disabled' },
    /^warn .*not read on an HTTPRoute/,
  ],
  [
    "a Gateway's timeout that is not a duration",
    'Gateway',
    {},
    { 'weft.dev/request-head-timeout': 'x' },
    /^fail .*no duration/,
  ],
  ['an unknown annotation', 'Gateway', {}, { 'weft.dev/team': 'a' }, /^warn .*is unknown/],
  // Keys of Istio.
  ["Istio's mode", 'Namespace', { 'istio.io/dataplane-mode': 'ambient' }, {}, undefined],
  [
    "Istio's mode with an unknown value",
    'Namespace',
    { 'istio.io/dataplane-mode': 'ambiant' },
    {},
    /^fail .*"ambiant" is unknown: expected ambient or none/,
  ],
  [
    "Istio's mode, mistyped",
    'Namespace',
    { 'istio.io/dataplane-mod': 'ambient' },
    {},
    /^fail .*did you mean istio\.io\/dataplane-mode\?/,
  ],
  [
    "Istio's waypoint, mistyped",
    'Service',
    { 'istio.io/use-waypont': 'w' },
    {},
    /^fail .*did you mean istio\.io\/use-waypoint\?/,
  ],
  ["Istio's waypoint on a pod", 'Pod', { 'istio.io/use-waypoint': 'w' }, {}, /^warn .*not read on a Pod/],
  ["Istio's label for ingress", 'Service', { 'istio.io/ingress-use-waypoint': 'true' }, {}, undefined],
] as const)
  test(`labels and annotations: ${name}`, () => {
    const found = of(kind, labels, annotations);
    if (!expected) return assert.deepEqual(found, []);
    assert.equal(found.length, 1, found.join('\n'));
    assert.match(found[0] ?? '', expected);
  });

test('a setting of a Service that is not in force is not called a protection', () => {
  const found = keyFindings('Service', [
    {
      metadata: {
        name: 'x',
        namespace: 'shop',
        annotations: { 'weft.dev/load-balancing': 'maglev', 'weft.dev/requests-max.http': '0' },
      },
      spec: { ports: [{ name: 'http', port: 80 }] },
    },
  ]);
  assert.deepEqual(
    found.map(({ level, help }) => [level, help]),
    [1, 2].map(() => ['fail', 'correct it: the setting is not in force']),
  );
});

test('an object without a namespace is named by its name alone', () => {
  const metadata = { name: 'mesh', annotations: { 'weft.dev/requests-max': 'lots' } };
  const [finding] = keyFindings('MeshSettings', [{ metadata }]);
  assert.match(
    finding?.what ?? '',
    /^MeshSettings mesh: annotation weft\.dev\/requests-max: "lots" is unknown/,
  );
});

test('pods of a namespace with the same problem are one finding', () => {
  const pod = (name: string, namespace: string) => ({
    metadata: { name, namespace, labels: { 'weft.dev/mdoe': 'strict' } },
  });
  const found = keyFindings('Pod', [pod('a', 'shop'), pod('b', 'shop'), pod('c', 'shop'), pod('d', 'bank')]);
  assert.equal(found.length, 2);
  assert.match(found[0]?.what ?? '', /^Pod shop\/a and 2 more: label/);
  for (const { help } of found) assert.ok(help);
});
