import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge, party } from '../../../test/support/edges.js';
import { randomOf } from '../../../test/support/random.js';
import { latencyBoundsMs, type Edge, type EdgeCounts, type EdgeParty } from '../../model/edge.js';
import { edgeStates } from './edge-states.js';
import { statistics, subjects, type Statistic, type Subject } from './statistics.js';

const times = { fromMs: 0, nowMs: 100_000 };
const of = (edges: readonly Edge[], by: Subject): Statistic[] => statistics(edges, { by, ...times });

test('a workload has what it is asked and what it asks; rates are of the time that was observed', () => {
  const edges = [
    edge(
      { reporter: 'waypoint', path: 'waypoint', method: 'GET', pathTemplate: '/' },
      { connections: 0, requests: 50, failures: 5 },
    ),
    edge(
      { source: party('shop', 'api'), destination: party('shop', 'db'), service: '' },
      { connections: 20 },
    ),
  ];
  const found = of(edges, 'workloads');
  assert.deepEqual(
    found.map((one) => [
      one.workload,
      one.direction,
      one.requestsPerSecond,
      one.connectionsPerSecond,
      one.successShare,
    ]),
    [
      ['shop/api', 'inbound', 0.5, 0, 0.9],
      ['shop/api', 'outbound', 0, 0.2, undefined],
      ['shop/db', 'inbound', 0, 0.2, undefined],
      ['shop/web', 'outbound', 0.5, 0, 0.9],
    ],
  );
  const [young] = statistics(edges, { by: 'workloads', fromMs: 95_000, nowMs: 100_000 });
  assert.equal(young?.requestsPerSecond, undefined);
  assert.equal(young?.requests, 50);
});

test('mutual TLS is a share of what left a node: kernel flows are not counted against it', () => {
  const share = (...edges: Edge[]): unknown => of(edges, 'services')[0]?.mutualTlsShare;
  assert.equal(share(edge({}, { connections: 3 }), edge({ path: 'plain' }, { connections: 1 })), 0.75);
  assert.equal(share(edge({ path: 'kernel' }, { connections: 3 })), undefined);
  assert.equal(share(edge({ path: 'kernel' }, { connections: 3 }), edge({}, { connections: 1 })), 1);
  // Metrics have the connections and the requests that an agent sees in one edge.
  const both = edge({}, { connections: 2, requests: 9 });
  assert.equal(share(both), 1);
  assert.equal(share(both, edge({ path: 'plain' }, { connections: 2 })), 0.5);
});

test('an edge with several policies in audit mode counts for each of them', () => {
  const edges = [edge({ policy: 'shop/a,shop/b' }, { audited: 4 })];
  assert.deepEqual(
    of(edges, 'policies').map((one) => [one.policy, one.audited]),
    [
      ['shop/a', 4],
      ['shop/b', 4],
    ],
  );
});

test('a policy has what it refused and would have refused, once for both sides', () => {
  const policy = 'shop/only-web';
  const edges = [
    edge({ path: 'refused', policy }, { connections: 0, refused: 2 }),
    edge({ reporter: 'destination', path: 'refused', policy }, { connections: 0, refused: 3 }),
    edge(
      { reporter: 'waypoint', path: 'waypoint', method: 'GET', policy: 'shop/trial' },
      { requests: 9, audited: 9 },
    ),
  ];
  assert.deepEqual(
    of(edges, 'policies').map((one) => [one.policy, one.refused, one.audited]),
    [
      [policy, 3, 0],
      ['shop/trial', 0, 9],
    ],
  );
});

/** Counts of requests that took about as long. */
const requestCounts = (requests: number): Partial<EdgeCounts> => ({
  connections: 0,
  requests,
  failures: Math.floor(requests / 3),
  latencyCounts: [...latencyBoundsMs, 0].map((_, i) => (i === 4 ? requests : 0)),
});

interface Mesh {
  readonly edges: Edge[];
  /** Requests and connections that somebody has seen. */
  requests: number;
  connections: number;
  /** Whether the server's agents know each client's pod: otherwise some may be missing, and none is counted twice. */
  readonly isExact: boolean;
}

/** A mesh with random traffic, and what its programs report of it: each knows other names, and not all count requests. */
function randomTraffic(seed: number): Mesh {
  const random = randomOf(seed);
  const chance = (percent: number): boolean => random(100) < percent;
  const isExact = chance(50);
  const mesh: Mesh = { edges: [], requests: 0, connections: 0, isExact };
  const services = [0, 1, 2].map((i) => ({
    name: `s${i}`,
    hasWaypoint: chance(40),
    countsRequests: chance(50),
  }));
  for (const client of ['a', 'b', 'c']) {
    const countsRequests = chance(50);
    for (const pod of ['1', '2'])
      for (const { name, ...server } of services)
        if (chance(70))
          addTraffic(mesh, chance, random, {
            client: party('shop', client, { pod: `${client}-${pod}` }),
            server: party('bank', name),
            service: `${name}.bank.svc.cluster.local`,
            hasWaypoint: server.hasWaypoint,
            clientCounts: countsRequests,
            serverCounts: server.countsRequests,
            hasAgent: chance(85),
          });
  }
  return mesh;
}

interface Traffic {
  readonly client: EdgeParty;
  readonly server: EdgeParty;
  readonly service: string;
  readonly hasWaypoint: boolean;
  readonly clientCounts: boolean;
  readonly serverCounts: boolean;
  readonly hasAgent: boolean;
}

function addTraffic(
  mesh: Mesh,
  chance: (percent: number) => boolean,
  random: (below: number) => number,
  { client, server, service, hasWaypoint, clientCounts, serverCounts, hasAgent }: Traffic,
): void {
  const requests = 1 + random(40);
  const connections = 1 + random(requests);
  const nameless = { ...client, workload: '', pod: '' };
  const seenByServer = !mesh.isExact && chance(30) ? nameless : client;
  const ofClient = { reporter: 'source', source: client, service } as const;
  const ofServer = {
    reporter: 'destination',
    source: seenByServer,
    destination: server,
    service: '',
    path: 'inbound-hbone',
  } as const;
  const ask = (method: 'GET' | 'POST', pathTemplate = '/x') => ({ method, pathTemplate });
  const some = random(requests + 1);
  if (hasWaypoint) {
    mesh.requests += requests;
    const source = chance(20) ? nameless : client;
    const ofWaypoint = {
      reporter: 'waypoint',
      path: 'waypoint',
      source,
      destination: server,
      service,
    } as const;
    mesh.edges.push(edge({ ...ofWaypoint, ...ask('GET') }, requestCounts(some)));
    mesh.edges.push(edge({ ...ofWaypoint, ...ask('POST', '/y') }, requestCounts(requests - some)));
    const destination = { namespace: 'bank', workload: '', pod: '', identity: undefined };
    if (hasAgent) mesh.edges.push(edge({ ...ofClient, destination, port: 80 }, { connections }));
    if (hasAgent && clientCounts)
      mesh.edges.push(
        edge({ ...ofClient, destination, port: 80, ...ask('GET', 'other') }, requestCounts(requests)),
      );
    mesh.edges.push(edge(ofServer, { connections: 1 + random(5) }));
    if (serverCounts) mesh.edges.push(edge({ ...ofServer, ...ask('GET') }, requestCounts(requests)));
    return;
  }
  const isSameNode = hasAgent && chance(30);
  const path = isSameNode ? 'kernel' : 'hbone';
  if (hasAgent) mesh.edges.push(edge({ ...ofClient, destination: server, path }, { connections }));
  if (!isSameNode) mesh.edges.push(edge(ofServer, { connections }));
  mesh.connections += connections;
  const ofBoth: Edge[] = [];
  if (hasAgent && clientCounts)
    ofBoth.push(
      edge({ ...ofClient, destination: server, path, ...ask('GET') }, requestCounts(some)),
      edge({ ...ofClient, destination: server, path, ...ask('POST') }, requestCounts(requests - some)),
    );
  if (!isSameNode && serverCounts)
    ofBoth.push(edge({ ...ofServer, ...ask('GET', 'other') }, requestCounts(requests)));
  mesh.edges.push(...ofBoth);
  if (ofBoth.length > 0) mesh.requests += requests;
}

function shuffled<T>(all: readonly T[], random: (below: number) => number): T[] {
  const left = [...all];
  return all.map(() => left.splice(random(left.length), 1)[0] as T);
}

const total = (all: readonly { readonly requests: number; readonly connections: number }[]) => ({
  requests: all.reduce((sum, { requests }) => sum + requests, 0),
  connections: all.reduce((sum, { connections }) => sum + connections, 0),
});

test('whatever programs report of the same traffic, each request and connection counts once, in any order', () => {
  for (let seed = 0; seed < 400; seed++) {
    const mesh = randomTraffic(seed);
    const random = randomOf(seed);
    const why = `seed ${seed}`;
    const states = edgeStates(mesh.edges, 0, 100_000);
    const found = total(states);
    for (const count of ['requests', 'connections'] as const) {
      assert.ok(found[count] <= mesh[count], `${why}: more ${count} than there were`);
      if (mesh.isExact) assert.equal(found[count], mesh[count], `${why}: ${count}`);
    }
    const workloads = of(mesh.edges, 'workloads');
    for (const side of ['inbound', 'outbound'] as const)
      assert.deepEqual(
        total(workloads.filter(({ direction }) => direction === side)),
        found,
        `${why}: ${side}`,
      );
    assert.deepEqual(total(of(mesh.edges, 'edges')), found, why);
    assert.equal(total(of(mesh.edges, 'routes')).requests, found.requests, why);
    for (const { requests, routes } of states)
      assert.equal(
        routes.reduce((sum, one) => sum + one.requests, 0),
        requests,
        why,
      );
    const other = shuffled(mesh.edges, random);
    assert.deepEqual(edgeStates(other, 0, 100_000), states, `${why}: order`);
    for (const by of subjects) assert.deepEqual(of(other, by), of(mesh.edges, by), `${why}: order of ${by}`);
  }
});
