import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placePods } from '../plan.js';
import { callGraphPlan, deepPort, fanOut, widePort } from './call-graph.js';

const hosts = Array.from({ length: 11 }, (_, at) => `10.0.0.${at}`);

test('a request passes ten services in a row and ends at the tenth', () => {
  const visited = [0];
  for (let at = 0; ;) {
    const target = fanOut(at, hosts).find((text) => text.startsWith(`${deepPort} `));
    if (target === undefined) break;
    const { hostname, port } = new URL(target.split(' ')[1] ?? '');
    at = hosts.indexOf(hostname);
    visited.push(at);
    if (port !== String(deepPort)) break;
  }
  assert.deepEqual(visited, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('only the first service asks ten others at once, none of them itself', () => {
  const targets = fanOut(0, hosts).find((text) => text.startsWith(`${widePort} `));
  assert.deepEqual(
    targets?.split(' ').slice(1),
    hosts.slice(1).map((host) => `http://${host}:8080`),
  );
  for (let at = 1; at < hosts.length; at++)
    assert.ok(!fanOut(at, hosts).some((text) => text.startsWith(`${widePort} `)));
});

test('across nodes each call of the row leaves its node, on one node none does', () => {
  const pods = placePods(callGraphPlan(['none', 'none-again', 'weft']));
  const nodesOf = (namespace: string): string[] =>
    pods.filter((pod) => pod.namespace === namespace).map(({ node }) => node);
  for (const variant of ['none', 'weft']) {
    assert.deepEqual([...new Set(nodesOf(`${variant}-same-node`))], ['bench-a']);
    const row = nodesOf(`${variant}-cross-node`).slice(0, 11);
    for (let at = 1; at < row.length; at++) assert.notEqual(row[at], row[at - 1]);
  }
  assert.equal(pods.length, 48);
});
