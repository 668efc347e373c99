import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waypointFindings } from './waypoints.js';

const labeled = (name: string, labels: Readonly<Record<string, string>>, namespace?: string) => ({
  metadata: { name, labels, ...(namespace === undefined ? {} : { namespace }) },
});
const gateway = (gatewayClassName: string) => ({
  metadata: { name: 'wp', namespace: 'shop' },
  spec: { gatewayClassName, listeners: [{ protocol: 'HBONE' }] },
});
const ours = { ...labeled('weft-waypoint', {}), spec: { controllerName: 'weft.dev/waypoint' } };

for (const [name, labels, gateways, classes, expected] of [
  ['is there', { 'weft.dev/waypoint': 'wp' }, [gateway('weft-waypoint')], [ours], undefined],
  [
    'is there, and its class is not known',
    { 'weft.dev/waypoint': 'wp' },
    [gateway('weft-waypoint')],
    [],
    undefined,
  ],
  ['is none', { 'weft.dev/waypoint': 'none' }, [], [], undefined],
  ['is missing', { 'weft.dev/waypoint': 'wp' }, [], [], /waypoint shop\/wp, and there is no Gateway/],
  [
    "is missing, by Istio's label",
    { 'istio.io/use-waypoint': 'wp' },
    [],
    [],
    /waypoint shop\/wp \(label istio\.io\/use-waypoint\), and there is no Gateway/,
  ],
  [
    'is of another namespace, and missing',
    { 'istio.io/use-waypoint': 'wp', 'istio.io/use-waypoint-namespace': 'infra' },
    [gateway('weft-waypoint')],
    [],
    /waypoint infra\/wp/,
  ],
  [
    "is Istio's own",
    { 'istio.io/use-waypoint': 'wp' },
    [gateway('istio-waypoint')],
    [ours],
    /is of class istio-waypoint, which is not Weft's/,
  ],
  [
    'is of a class of another name that is ours',
    { 'weft.dev/waypoint': 'wp' },
    [gateway('mine')],
    [{ ...labeled('mine', {}), spec: { controllerName: 'weft.dev/waypoint' } }],
    undefined,
  ],
] as const)
  test(`a waypoint that labels name ${name}`, () => {
    const namespaces = [labeled('shop', {})];
    const found = waypointFindings({
      gateways,
      classes,
      namespaces,
      services: [labeled('api', labels, 'shop')],
    });
    if (!expected) return assert.deepEqual(found, []);
    assert.equal(found.length, 1);
    assert.equal(found[0]?.level, 'fail');
    assert.match(found[0]?.what ?? '', expected);
    assert.match(found[0]?.help ?? '', /clients are refused/);
    assert.equal(
      waypointFindings({ gateways, classes, namespaces: [labeled('shop', labels)], services: [] }).length,
      1,
    );
  });
