import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge, party } from '../../../test/support/edges.js';
import type { Edge, EdgeCounts } from '../../model/edge.js';
import type { EdgeState } from '../../model/mesh-snapshot.js';
import { edgeStates } from './edge-states.js';

const states = (edges: readonly Edge[]): EdgeState[] => edgeStates(edges, 0, 60_000);
const nobody = { namespace: '', workload: '', pod: '', identity: undefined };
const unknownEndpoint = { namespace: 'shop', workload: '', pod: '', identity: undefined };

const request = (more: Parameters<typeof edge>[0], counts: Partial<EdgeCounts> = {}): Edge =>
  edge({ method: 'GET', pathTemplate: '/', ...more }, { connections: 0, requests: 1, ...counts });
const waypoint = (more: Parameters<typeof edge>[0], counts: Partial<EdgeCounts> = {}): Edge =>
  request({ reporter: 'waypoint', path: 'waypoint', ...more }, counts);

test('a connection that both sides report is one state, one from outside of the mesh is a state of its own', () => {
  const found = states([
    edge({}, { connections: 2 }),
    edge({ source: party('shop', 'web', { pod: 'web-2' }) }, { connections: 1, lastSeenMs: 9 }),
    edge({ reporter: 'destination', path: 'inbound-hbone' }, { connections: 2 }),
    edge(
      { reporter: 'destination', path: 'inbound-hbone', source: party('shop', 'web', { pod: 'web-2' }) },
      { connections: 1 },
    ),
    edge({ reporter: 'destination', path: 'inbound-plain', source: nobody }, { connections: 5 }),
  ]);
  assert.deepEqual(
    found.map(({ source, path, security, connections, lastSeenMs }) => [
      source,
      path,
      security,
      connections,
      lastSeenMs,
    ]),
    [
      ['shop/web', 'hbone', 'mutual-tls', 3, 9],
      ['unknown', 'plain', 'none', 5, 0],
    ],
  );
});

test("connections of a pod whose node's agent does not report are those that the server's agent reports", () => {
  const second = party('shop', 'web', { pod: 'web-2' });
  const [one, ...more] = states([
    edge({}, { connections: 2 }),
    edge({ reporter: 'destination', path: 'inbound-hbone' }, { connections: 2 }),
    edge({ reporter: 'destination', path: 'inbound-hbone', source: second }, { connections: 4 }),
  ]);
  assert.deepEqual([one?.connections, more], [6, []]);
});

test("the connection of a client that the server's agent knows by identity only is not a second one", () => {
  const { identity } = party('shop', 'web');
  const found = states([
    edge({}, { connections: 2 }),
    edge(
      { reporter: 'destination', path: 'inbound-hbone', source: { ...nobody, namespace: 'shop', identity } },
      { connections: 2 },
    ),
  ]);
  assert.deepEqual(
    found.map(({ source, connections }) => [source, connections]),
    [['shop/web', 2]],
  );
});

test('a connection to a namespace whose workloads the reader may not see is one, and so is a request', () => {
  const destination = { ...party('bank', 'vault'), workload: '', pod: '' };
  const service = 'vault.bank.svc.cluster.local';
  const found = states([
    edge({ destination, service }, { connections: 2 }),
    edge(
      { reporter: 'destination', path: 'inbound-hbone', destination, service: '' },
      { connections: 2, bytesSent: 7 },
    ),
    request({ destination, service }, { requests: 3 }),
    request({ reporter: 'destination', path: 'inbound-hbone', destination, service: '' }, { requests: 3 }),
  ]);
  assert.deepEqual(
    found.map((one) => [one.destination, one.connections, one.requests]),
    [[service, 2, 3]],
  );
});

test("a request is the waypoint's, not also that of the agents which see it pass; its connections are not a second call", () => {
  const found = states([
    waypoint({ pathTemplate: '/a' }, { requests: 2, bytesSent: 10 }),
    waypoint({ pathTemplate: '/b' }, { requests: 1, bytesSent: 10 }),
    // The client's agent knows the Service only.
    edge({ destination: unknownEndpoint, port: 80 }, { bytesSent: 25 }),
    request({ destination: unknownEndpoint, port: 80, pathTemplate: '/a' }, { requests: 2 }),
    request({ destination: unknownEndpoint, port: 80, pathTemplate: 'other' }, { requests: 1 }),
    edge({ reporter: 'destination', path: 'inbound-hbone', service: '' }, { bytesSent: 30 }),
    request({ reporter: 'destination', path: 'inbound-hbone', service: '' }, { requests: 3 }),
  ]);
  assert.deepEqual(
    found.map(({ path, requests, connections, bytesSent, routes }) => [
      path,
      requests,
      connections,
      bytesSent,
      routes.map(({ pathTemplate, requests: count }) => [pathTemplate, count]),
    ]),
    [
      [
        'waypoint',
        3,
        0,
        20,
        [
          ['/a', 2],
          ['/b', 1],
        ],
      ],
    ],
  );
});

test("requests through a waypoint and past it add up, as the client's agent knows which ones pass it", () => {
  const found = states([
    waypoint({ service: 'api.shop.svc.cluster.local' }, { requests: 2 }),
    // To a pod's own address, which the waypoint of the Service never sees.
    request({ path: 'kernel', service: '' }, { requests: 5 }),
    request({ reporter: 'destination', path: 'inbound-hbone', service: '' }, { requests: 2 }),
  ]);
  assert.deepEqual(
    found.map(({ path, requests }) => [path, requests]),
    [
      ['kernel', 5],
      ['waypoint', 2],
    ],
  );
});

test('without a waypoint the agent that has seen more requests counts: signals may be on for one side only', () => {
  const requestsOf = (...edges: Edge[]): number[] => states(edges).map(({ requests }) => requests);
  const client = request({}, { requests: 4 });
  const server = request({ reporter: 'destination', path: 'inbound-hbone', service: '' }, { requests: 7 });
  assert.deepEqual(requestsOf(edge(), client, server), [7]);
  assert.deepEqual(requestsOf(edge(), client), [4]);
  assert.deepEqual(requestsOf(edge(), edge({ reporter: 'destination', path: 'inbound-hbone' }), server), [7]);
});

test("a refusal counts once, with the policy that only the server's agent knows; so does what audit mode found", () => {
  const [passed, refused, ...more] = states([
    edge({ path: 'refused' }, { connections: 0, refused: 2 }),
    edge(
      { reporter: 'destination', path: 'refused', policy: 'shop/only-web', service: '' },
      { connections: 0, refused: 2 },
    ),
    edge({}, { connections: 3 }),
    edge(
      { reporter: 'destination', path: 'inbound-hbone', policy: 'shop/trial', service: '' },
      { connections: 3, audited: 3 },
    ),
  ]);
  assert.deepEqual(more, []);
  assert.deepEqual([refused?.refused, refused?.connections, refused?.policies], [2, 0, ['shop/only-web']]);
  assert.deepEqual([passed?.connections, passed?.audited, passed?.policies], [3, 3, ['shop/trial']]);
});

test("a connection that a waypoint refused is not also its client's refusal; one that never reached it is", () => {
  const count = (ofWaypoint: boolean): number =>
    states([
      ...(ofWaypoint
        ? [
            edge(
              { reporter: 'waypoint', path: 'waypoint', destination: unknownEndpoint },
              { connections: 0, refused: 2 },
            ),
          ]
        : []),
      edge({ destination: unknownEndpoint, path: 'refused' }, { connections: 0, refused: 2, failures: 1 }),
    ]).reduce((sum, { refused }) => sum + refused, 0);
  assert.deepEqual([count(true), count(false)], [2, 2]);
});

test('a request of a client without identity is not protected; a Service stands for an unknown endpoint', () => {
  const [state] = states([
    waypoint({ source: unknownEndpoint, destination: unknownEndpoint }, { requests: 6, failures: 2 }),
  ]);
  assert.deepEqual(
    [state?.source, state?.destination, state?.security, state?.requestsPerSecond],
    ['shop', 'api.shop.svc.cluster.local', 'none', 0.1],
  );
});

test('success is of requests that were not refused; failed connections are no failed requests', () => {
  const [state] = states([
    waypoint({}, { requests: 10, failures: 2 }),
    waypoint({ policy: 'shop/deny' }, { requests: 6, refused: 6 }),
    edge({ reporter: 'waypoint', path: 'waypoint' }, { connections: 1, failures: 3 }),
  ]);
  assert.deepEqual([state?.successShare, state?.failures, state?.refused], [0.8, 5, 6]);
  assert.equal(states([edge()])[0]?.successShare, undefined);
  assert.equal(states([waypoint({}, { requests: 6, refused: 6 })])[0]?.successShare, undefined);
});

test('what one side has counted beyond its limits is a part of what the other side reports', () => {
  const other = { namespace: 'other', workload: 'other', pod: 'other', identity: undefined };
  const beyond = edge(
    { reporter: 'destination', path: 'inbound-hbone', source: other, service: '', port: 0 },
    { connections: 9 },
  );
  assert.deepEqual(
    states([edge({}, { connections: 2 }), beyond]).map(({ connections }) => connections),
    [2],
  );
  assert.deepEqual(
    states([beyond]).map(({ source, connections }) => [source, connections]),
    [['other/other', 9]],
  );
});
