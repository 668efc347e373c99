import assert from 'node:assert/strict';
import { test } from 'node:test';
import { auditFindings } from './audit.js';

const namespace = (name: string, mode?: string) => ({
  metadata: { name, labels: mode === undefined ? {} : { 'weft.dev/policy-mode': mode } },
});
const whats = (...args: Parameters<typeof auditFindings>): string[] =>
  auditFindings(...args).map(({ level, what }) => `${level} ${what}`);

test('audit mode is shown for the mesh and each namespace, and where it has no effect', () => {
  const namespaces = [
    namespace('a'),
    namespace('b', 'audit'),
    namespace('c', 'Audit'),
    namespace('root', 'audit'),
  ];
  assert.deepEqual(whats(namespaces, [{ spec: {} }], 'root'), [
    'warn namespace b is in audit mode: its policies and its strict mode refuse nothing',
    'warn label weft.dev/policy-mode=audit on the root namespace root has no effect',
  ]);
  assert.deepEqual(whats([namespace('a', 'enforce')], [{ spec: { policyMode: 'audit' } }, {}], 'root'), [
    'warn the mesh is in audit mode: no policy refuses anything, and strict mode neither',
  ]);
  assert.deepEqual(whats([], [{ spec: { policyMode: 'enforce' } }], 'root'), []);
});
