import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { mirrorTo } from '../../../test/support/filters.js';
import { behind, id, key, policy, service, uid, workload } from '../../../test/support/mesh.js';
import { dice, names, randomUpdate } from '../../../test/support/random-mesh.js';
import { backend, route } from '../../../test/support/waypoint.js';
import type { PolicyGroup } from '../authorization/endpoint-policies.js';
import { Cluster } from '../cluster/cluster.js';
import { ClusterManager } from '../cluster/cluster-manager.js';
import { FairLimit } from '../../base/fair-limit.js';
import { InjectedFaults } from '../filters/injected-faults.js';
import { RateLimits } from '../rate-limit/rate-limits.js';
import { parseIp } from '../../model/address.js';
import { Exchange } from '../exchange/exchange.js';
import type { Downstream, Upstream } from '../http/http-stream.js';
import { clientOf } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import { defaultLimits } from '../limits.js';
import { WaypointState } from '../state/waypoint-state.js';
import { Mirror } from '../upstream/mirror.js';
import { ByDestination } from './by-destination.js';
import type { ConnectionContext } from './context.js';
import { recheck } from './recheck.js';
import { JwtTokens } from '../jwt/jwt-tokens.js';
import { Shedding } from '../shedding/shedding.js';

const client = clientOf(id('web'), { ip: parseIp('10.9.9.9'), port: 1 });
const nothing = (): void => undefined;

const upstream = (): Upstream => ({
  listener: undefined,
  send: nothing,
  cancel: nothing,
  write: () => true,
  end: nothing,
  pause: nothing,
  resume: nothing,
});
mock.method(Cluster.prototype, 'acquire', (...[, , , , done]: Parameters<Cluster['acquire']>) =>
  done(upstream(), undefined),
);

/** A worker whose endpoints never respond. `ended` counts requests, `mirrorsEnded` mirrors. */
function worker() {
  const state = new WaypointState('node-1', key('waypoint'));
  const counts = { ended: 0, mirrorsEnded: 0 };
  const dial = (): Promise<never> => Promise.reject(new Error('there is no network'));
  const clusters = new ClusterManager(state, dial, defaultLimits, nothing);
  const context: ConnectionContext = {
    state,
    clusters,
    limits: defaultLimits,
    mergeSlashes: true,
    exchanges: new ByDestination(),
    connections: new ByDestination(),
    connectionShares: new FairLimit(1e6),
    requestShares: new FairLimit(1e6),
    rateLimits: RateLimits.inMemory(),
    faults: new InjectedFaults(),
    shedding: new Shedding(),
    jwt: new JwtTokens(() => undefined),
    mirrorShares: new FairLimit(1e6),
    mirrorBufferShares: new FairLimit(1e6),
    onMirrorEnd: () => counts.mirrorsEnded++,
    onRequestEnd: () => counts.ended++,
    onLimitReached: nothing,
    onUnreadable: nothing,
    onDetected: nothing,
    onAction: () => undefined,
    onUpstreamEvent: () => undefined,
    onRelay: nothing,
  };
  return { state, context, counts };
}

function start(context: ConnectionContext, destination: Destination): void {
  const downstream: Downstream = {
    head: { method: 'GET', path: '/', authority: 'a', scheme: 'http', headers: [] },
    version: 'HTTP/2',
    hasBody: false,
    upgrade: undefined,
    listener: undefined,
    isPaused: false,
    interim: nothing,
    respond: nothing,
    upgraded: nothing,
    abort: nothing,
    write: () => true,
    end: nothing,
    pause: nothing,
    resume: nothing,
  };
  new Exchange(context, client, destination, downstream).start();
}

/** Lists in one order: theirs depends on the order of updates. */
function normalized(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  return value
    .map(normalized)
    .map((one) => [JSON.stringify(one), one] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, one]) => one);
}

const asLists = ({ policies, destination, named, others }: PolicyGroup): unknown => [
  policies,
  destination,
  named,
  others,
];

/** What the state derives from the mesh, as text. */
function derived({ state, clusters }: Pick<ConnectionContext, 'state' | 'clusters'>): string {
  const all = names.map((name) => {
    const sent = { service: key(name), port: 80 };
    const endpoints = clusters.ofService(sent.service, sent.port)?.endpoints;
    return [
      state.policies.ofService(sent, parseIp('10.0.0.1')).map(asLists),
      endpoints?.map(({ key: endpointKey, workload, via }) => [
        endpointKey,
        via,
        { ...workload, services: [...workload.services] },
      ]),
      endpoints?.map((endpoint) => [
        state.policies.ofEndpoint(endpoint, sent).map(asLists),
        state.policies.ofEndpoint(endpoint, undefined).map(asLists),
      ]),
    ];
  });
  return JSON.stringify(all.map(normalized), undefined, 1);
}

test('a recheck that visits only what a change affects ends what a recheck of everything would end', () => {
  const mirrors = new Set<Mirror>();
  const { begin } = Mirror.prototype;
  mock.method(Mirror.prototype, 'begin', function (this: Mirror, ...given: Parameters<Mirror['begin']>) {
    mirrors.add(this);
    begin.apply(this, given);
  });
  let [visited, spared, ended, mirrorsEnded] = [0, 0, 0, 0];
  for (let seed = 1; seed <= 150; seed++) {
    const roll = dice(seed);
    const { state, context, counts } = worker();
    mirrors.clear();
    state.apply({
      routes: names.slice(0, 3).map((name, i) =>
        route(
          `r${name}`,
          [
            {
              backends: [backend(names[i + 1] ?? 'a'), backend(name)],
              filters: [mirrorTo({ kind: 'service', service: key(names[i + 3] ?? 'a'), port: 80 })],
            },
          ],
          { parents: [{ service: key(name) }] },
        ),
      ),
    });
    for (let step = 0; step < 40; step++) {
      const name = names[roll(names.length)] ?? '';
      const service = state.view.service(key(name));
      const dialed = { ip: service?.addresses[0]?.ip ?? parseIp('10.0.0.1'), port: 80 };
      if (service && state.serves(service, undefined, 80))
        start(context, { kind: 'service', service, port: 80, dialed });
      const one = state.view.workload(uid(name));
      const [ip] = one?.addresses ?? [];
      if (one && ip && state.serves(undefined, one, 8080))
        start(context, { kind: 'workload', workload: one, dialed: { ip, port: 8080 } });
      const live = context.exchanges.size;
      const change = state.apply({ mesh: randomUpdate(roll, 'waypoint') });
      assert.ok(change);
      const count = recheck(context, change);
      visited += count;
      spared += Math.max(0, live - count);
      const before = { ...counts };
      for (const each of context.exchanges) each.recheck();
      for (const each of mirrors) each.recheck();
      assert.deepEqual(counts, before, `seed ${seed} step ${step}`);
      const fresh = worker();
      fresh.state.apply(state.full());
      assert.equal(derived(context), derived(fresh.context), `seed ${seed} step ${step}`);
      fresh.context.clusters.drain();
    }
    context.clusters.drain();
    ended += counts.ended;
    mirrorsEnded += counts.mirrorsEnded;
  }
  assert.ok(visited > 1000 && spared > 5000, `${visited} visited, ${spared} spared`);
  assert.ok(ended > 500 && mirrorsEnded > 50, `${ended} ended, ${mirrorsEnded} mirrors ended`);
});

test('a policy of a Service ends requests at a pod that is no endpoint of it any more', () => {
  const { state, context, counts } = worker();
  const self = { kind: 'hostname', service: key('waypoint'), hbonePort: 15008 } as const;
  const pod = workload('pod', '10.0.0.1', 'node-1', behind('backend'));
  state.apply({
    mesh: {
      workloads: [pod],
      services: [
        service('api', '10.96.0.1', 8080, { waypoint: self }),
        service('backend', '10.96.0.2', 8080, { waypoint: self }),
      ],
    },
    routes: [route('r', [{ backends: [backend('backend')] }])],
  });
  const api = state.view.service(key('api'));
  assert.ok(api);
  start(context, { kind: 'service', service: api, port: 80, dialed: { ip: parseIp('10.96.0.1'), port: 80 } });
  const left = state.apply({ mesh: { workloads: [{ ...pod, services: new Map() }] } });
  assert.ok(left && recheck(context, left) === 1);
  assert.equal(counts.ended, 0, 'a removed endpoint completes its requests');
  const denied = state.apply({
    mesh: { policies: [policy('p', 'deny', { destinationPorts: [80] }, { services: [key('backend')] })] },
  });
  assert.ok(denied && recheck(context, denied) === 1);
  assert.equal(counts.ended, 1);
});

test('a policy of the mesh, of a namespace or of a pod’s other Service ends requests at a pod that is gone', () => {
  const self = { kind: 'hostname', service: key('waypoint'), hbonePort: 15008 } as const;
  const pod = workload('pod', '10.0.0.1', 'node-1', {
    services: new Map([...behind('api').services, ...behind('also').services]),
  });
  const any = { destinationPorts: [80, 8080] };
  for (const denies of [
    policy('p', 'deny', any, { scope: 'global' }),
    policy('p', 'deny', any, { scope: 'namespace' }),
    policy('p', 'deny', any, { services: [key('also')] }),
  ]) {
    const { state, context, counts } = worker();
    state.apply({
      mesh: {
        workloads: [pod],
        services: [
          service('api', '10.96.0.1', 8080, { waypoint: self }),
          service('also', '10.96.0.2', 8080, { waypoint: self }),
        ],
      },
    });
    const api = state.view.service(key('api'));
    assert.ok(api);
    start(context, {
      kind: 'service',
      service: api,
      port: 80,
      dialed: { ip: parseIp('10.96.0.1'), port: 80 },
    });
    const removed = state.apply({ mesh: { removed: [pod.uid] } });
    assert.ok(removed);
    recheck(context, removed);
    assert.equal(counts.ended, 0, 'a removed endpoint completes its requests');
    const denied = state.apply({ mesh: { policies: [denies] } });
    assert.ok(denied);
    recheck(context, denied);
    assert.equal(counts.ended, 1, `${denies.scope} ${denies.services.join(' ')}`);
  }
});
