import assert from 'node:assert/strict';
import { test } from 'node:test';
import { annotationFindings, type AnnotatedKind } from './gateway-keys.js';

const of = (kind: AnnotatedKind, annotations: Readonly<Record<string, string>>): string[] =>
  annotationFindings(kind, [{ metadata: { name: 'x', namespace: 'shop', annotations } }]).map(
    ({ level, what }) => `${level} ${what}`,
  );

for (const [kind, annotations, expected] of [
  ['Gateway', { 'weft.dev/merge-slashes': 'disabled', 'weft.dev/request-head-timeout': '1s' }, undefined],
  ['Gateway', { 'weft.dev/stream-idle-timeout': '1h', 'example.com/x': 'y' }, undefined],
  ['HTTPRoute', { 'weft.dev/stream-idle-timeout': '1h' }, undefined],
  ['GRPCRoute', { 'weft.dev/request-body-idle-timeout': '0s' }, undefined],
  [
    'Gateway',
    { 'weft.dev/merge-slashes': 'off' },
    /^fail Gateway shop\/x: .*"off" is unknown: it is enabled or disabled/,
  ],
  ['Gateway', { 'weft.dev/request-head-timeout': 'x' }, /^fail Gateway shop\/x: .*no duration/],
  ['Gateway', { 'weft.dev/merge-slash': 'disabled' }, /^warn .*did you mean weft\.dev\/merge-slashes\?/],
  [
    'HTTPRoute',
    { 'weft.dev/stream-idle-timeuot': '1h' },
    /^warn .*did you mean weft\.dev\/stream-idle-timeout\?/,
  ],
  [
    'HTTPRoute',
    { 'weft.dev/merge-slashes': 'disabled' },
    /^warn HTTPRoute shop\/x: .*not read on a HTTPRoute/,
  ],
  [
    'GRPCRoute',
    { 'weft.dev/zzz': '' },
    /^warn .*is unknown: Weft has the annotations [^()]*; it has no effect/,
  ],
] as const)
  test(`annotations on a ${kind}: ${JSON.stringify(annotations)}`, () => {
    const found = of(kind, annotations);
    if (!expected) return assert.deepEqual(found, []);
    assert.equal(found.length, 1, found.join('\n'));
    assert.match(found[0] ?? '', expected);
  });
