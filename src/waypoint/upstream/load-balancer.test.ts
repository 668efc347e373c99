import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workload } from '../../../test/support/mesh.js';
import { parseIp } from '../../model/address.js';
import { chooseEndpoint, type Tried } from './load-balancer.js';
import type { Endpoint } from './endpoint.js';

const nowMs = 1_000;

/** `failures` above 0: the endpoint is ejected. */
const endpoint = (name: string, failures = 0, active = 0): Endpoint => ({
  key: name,
  workload: workload(name, '10.0.0.1', 'node-1'),
  target: { ip: parseIp('10.0.0.1'), port: 80 },
  protocol: 'unknown',
  via: undefined,
  active,
  health: { failures, ejectedUntilMs: failures > 0 ? nowMs + 1 : 0, connectedMs: -Infinity },
});

/** The names that are chosen, over all random numbers. */
function chosen(endpoints: readonly Endpoint[], tried?: Tried, at = nowMs): string {
  const found = new Set<string>();
  const numbers = [0, 0.2, 0.4, 0.6, 0.8, 0.999];
  for (const a of numbers)
    for (const b of numbers) {
      let turn = 0;
      found.add(chooseEndpoint(endpoints, tried, at, () => (turn++ === 0 ? a : b))?.key ?? 'none');
    }
  return [...found].sort().join();
}

test('the best endpoints are those that are not ejected and were not tried', () => {
  const [a, b, c] = [endpoint('a'), endpoint('b'), endpoint('c', 1)];
  const tried = (mayRepeat: boolean, ...endpoints: Endpoint[]): Tried => ({
    endpoints: new Set(endpoints),
    mayRepeat,
  });
  assert.equal(chosen([a, b, c]), 'a,b');
  assert.equal(chosen([a, b, c], undefined, nowMs + 1), 'a,b,c', 'the ejection has ended');
  assert.equal(chosen([a, b, c], tried(true, a)), 'b');
  assert.equal(chosen([a, b, c], tried(true, a, b)), 'a,b', 'a tried endpoint ranks before an ejected one');
  assert.equal(chosen([a, b, c], tried(false, a, b)), 'c');
  assert.equal(chosen([a, b, c], tried(false, a, b, c)), 'none');
  assert.equal(chosen([a], tried(true, a)), 'a', 'the only one');
  assert.equal(chosen([a], tried(false, a)), 'none');
  assert.equal(chosen([]), 'none');
});

test('if all are ejected, those with the fewest failures are chosen from', () => {
  assert.equal(chosen([endpoint('a', 1), endpoint('b', 1)]), 'a,b');
  assert.equal(chosen([endpoint('a', 6), endpoint('b', 1), endpoint('c', 6)]), 'b');
  assert.equal(chosen([endpoint('a', 6)]), 'a');
});

test('of two endpoints, the one with fewer requests under way is chosen', () => {
  const all = [endpoint('busy', 0, 9), endpoint('idle', 0, 0)];
  let turn = 0;
  assert.equal(chooseEndpoint(all, undefined, nowMs, () => [0, 0.9][turn++ % 2] ?? 0)?.key, 'idle');
});
