import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allProblems, findingProblems, problemsOf, unenforcedProblems } from './problems.js';

test('problems name their object, and findings that are none are left out', () => {
  const texts = [
    'AccessPolicy shop/reads: there is no Service shop/plain',
    'Service shop/echo names the waypoint infra/shared, ...',
    'Namespace shop: label weft.dev/mesh: "true" is unknown',
    '/tmp/a.yaml:3: TrafficPolicy shop/p.q: spec: wrong',
    'namespace b is in audit mode',
    'node a has no agent',
    '/tmp/m/broken.yaml:1: not YAML',
    'broken.yaml: cannot be read',
  ];
  assert.deepEqual(
    findingProblems([
      { level: 'ok', what: 'fine' },
      ...texts.map((what) => ({ level: 'fail' as const, what })),
    ]).map(({ object }) => object),
    [
      'AccessPolicy shop/reads',
      'Service shop/echo',
      'Namespace shop',
      'TrafficPolicy shop/p.q',
      undefined,
      undefined,
      'File broken.yaml',
      'File broken.yaml',
    ],
  );
});

test('what two readers say of one thing is said once, with what to do, failures first', () => {
  const found = findingProblems([
    { level: 'warn', what: '/tmp/m/a.yaml:1: Service shop/a is also defined in b.yaml', help: 'remove one' },
    {
      level: 'fail',
      what: 'Service shop/echo names the waypoint w, and there is no Gateway',
      help: 'create it',
    },
    { level: 'fail', what: 'Service shop/echo names the waypoint w, twice', help: 'x' },
  ]);
  const said = unenforcedProblems([
    'a.yaml:1: Service shop/a is also defined in b.yaml',
    'Service shop/echo names the waypoint w, but there is no Gateway',
    'Pod shop/web: wrong',
  ]);
  assert.deepEqual(
    allProblems(found, said).map(({ level, help }) => `${level} ${help}`),
    ['fail create it', 'fail x', 'fail it is not in force as written: correct it', 'warn remove one'],
  );
});

test('of one namespace: its objects, the namespace itself, and what is of no namespace', () => {
  const all = unenforcedProblems([
    'Pod shop/web: a',
    'Pod shopping/web: b',
    'Namespace shop: c',
    'Namespace bank: d',
    'MeshSettings mesh: e',
    'node a has no agent',
  ]);
  assert.deepEqual(
    problemsOf(all, 'shop').map(({ what }) => what),
    ['Pod shop/web: a', 'Namespace shop: c', 'MeshSettings mesh: e', 'node a has no agent'],
  );
  assert.equal(problemsOf(all, undefined).length, 6);
});
