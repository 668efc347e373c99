import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultLimits } from '../../src/hbone/limits.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import { PeerSessions } from './sessions.js';

const of = (namespace: string, account: string) =>
  parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`);

test('an authenticated peer has a share of the connections, and so has its namespace; others are still admitted', () => {
  let full = 0;
  const sessions = new PeerSessions(defaultLimits.sessionsMax, () => full++);
  const releases: (() => void)[] = [];
  const open = (namespace: string, account: string): boolean => {
    const release = sessions.admit(of(namespace, account));
    if (release) releases.push(release);
    return release !== undefined;
  };
  for (let i = 0; i < 20_000; i++) open('evil', 'peer');
  assert.equal(releases.length, 4_096);
  for (let i = 0; i < 20_000; i++) open('evil', `peer-${i % 50}`);
  assert.ok(releases.length < 5_500, `${releases.length}`);
  assert.equal(full, 40_000 - releases.length);
  for (let i = 0; i < 500; i++) assert.ok(open('shop', 'web'));
  for (const release of releases.splice(0)) release();
  for (let i = 0; i < 4_096; i++) assert.ok(open('shop', 'web'));
});
