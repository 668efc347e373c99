import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatSocketAddress, parseCidr, parseIp } from '../model/address.js';
import type { Service } from '../model/service.js';
import type { Workload } from '../model/workload.js';
import type { MeshState } from '../state/store.js';
import {
  id,
  uid,
  workload,
  service,
  behind,
  pod,
  policy,
  anyRequest,
  replica,
  waypointRef,
} from '../../test/support/mesh.js';
import { meshOf, outboundTo, plainTo, tunnelTo, type MeshExtra } from '../../test/support/plans.js';
import { recheck, type InboundPlan, type OutboundPlan } from './choose-path.js';

const mesh = (extra: MeshExtra = {}): MeshState =>
  meshOf(
    {
      workloads: [
        workload('near', '10.0.1.2', 'n1', behind('near')),
        workload('plain', '10.0.2.2', 'n2', { tunnel: 'none' }),
        workload('host', '10.9.0.1', 'n2', { hostNetwork: true }),
        workload('sick', '10.0.2.3', 'n2', { healthy: false, ...behind('sick') }),
      ],
      services: [service('near', '10.96.0.1'), service('sick', '10.96.0.3')],
    },
    extra,
  );
const local = new Set([uid('web'), uid('near')]);
const outbound = (state: MeshState, ip: string, port: number, source = pod('web', '10.0.1.1')) =>
  outboundTo(state, ip, port, { source, locality: (one) => (local.has(one) ? 'joined' : 'elsewhere') });

const denyWeb = policy('deny-web', 'deny', {
  serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }],
});
const strict = policy('strict', 'deny', { notPrincipals: [{ kind: 'presence' }] });

const outboundCases: [string, () => OutboundPlan, string, RegExp][] = [
  ['a service on another node', () => outbound(mesh(), '10.96.0.2', 80), 'hbone', /other-node/],
  ['a pod on another node', () => outbound(mesh(), '10.0.2.1', 9000), 'hbone', /other-node/],
  ['a service on this node', () => outbound(mesh(), '10.96.0.1', 80), 'local', /same-node/],
  [
    'a pod reaching itself through its service',
    () => outbound(mesh({ workloads: [workload('web', '10.0.1.1', 'n1', behind('near'))] }), '10.96.0.1', 80),
    'local',
    /same-node/,
  ],
  ['a pod that is not enrolled', () => outbound(mesh(), '10.0.2.2', 80), 'plain', /not-enrolled/],
  ['a host-network pod', () => outbound(mesh(), '10.9.0.1', 80), 'plain', /host-network/],
  ['a destination outside the mesh', () => outbound(mesh(), '192.0.2.1', 443), 'plain', /outside-mesh/],
  [
    'a destination outside the mesh, which the pod refuses',
    () => outbound(mesh(), '192.0.2.1', 443, pod('web', '10.0.1.1', { outboundUnknown: 'refuse' })),
    'refuse',
    /not in the mesh/,
  ],
  [
    'a service without healthy endpoints',
    () => outbound(mesh(), '10.96.0.3', 80),
    'refuse',
    /no healthy endpoint/,
  ],
  ['a port that the service does not have', () => outbound(mesh(), '10.96.0.2', 81), 'refuse', /no port 81/],
  ["a pod's tunnel port", () => outbound(mesh(), '10.0.2.1', 15008), 'refuse', /agent's own/],
  [
    'a local destination that a policy denies',
    () => outbound(mesh({ policies: [denyWeb] }), '10.0.1.2', 80),
    'refuse',
    /deny-web rule 0/,
  ],
  [
    'a remote destination that a policy denies: its own agent decides',
    () => outbound(mesh({ policies: [denyWeb] }), '10.0.2.1', 80),
    'hbone',
    /other-node/,
  ],
  [
    'a service with a waypoint',
    () =>
      outbound(
        mesh({
          workloads: [replica('wp', '10.0.2.9')],
          services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef })],
        }),
        '10.96.0.2',
        80,
      ),
    'hbone',
    /waypoint/,
  ],
  [
    "a pod's address behind a service with a waypoint",
    () =>
      outbound(
        mesh({
          workloads: [replica('wp', '10.0.2.9')],
          services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef })],
        }),
        '10.0.2.1',
        8080,
      ),
    'hbone',
    /waypoint/,
  ],
  [
    'a service whose waypoint is missing',
    () =>
      outbound(
        mesh({ services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef })] }),
        '10.96.0.2',
        80,
      ),
    'refuse',
    /no healthy replica/,
  ],
  [
    'a waypoint that connects to its service',
    () =>
      outbound(
        mesh({
          workloads: [replica('wp', '10.0.1.1')],
          services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef })],
        }),
        '10.96.0.2',
        80,
        pod('wp', '10.0.1.1'),
      ),
    'hbone',
    /other-node/,
  ],
];
for (const [name, plan, kind, why] of outboundCases) {
  test(`outbound to ${name}: ${kind}`, () => {
    const result = plan();
    assert.equal(result.kind, kind);
    assert.match(result.why, why);
  });
}

test('a tunnel expects the identity of the endpoint and names the pod address and the target port', () => {
  const plan = outbound(mesh(), '10.96.0.2', 80);
  assert.ok(plan.kind === 'hbone');
  assert.deepEqual(plan.expected, [id('far')]);
  assert.equal(formatSocketAddress(plan.authority), '10.0.2.1:8080');
  assert.deepEqual(plan.next, { ip: '10.0.2.1', port: 15008 });
});

test('a tunnel to a waypoint names the dialed address', () => {
  const plan = outbound(
    mesh({
      workloads: [replica('wp', '10.0.2.9')],
      services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef })],
    }),
    '10.96.0.2',
    80,
  );
  assert.ok(plan.kind === 'hbone');
  assert.equal(formatSocketAddress(plan.authority), '10.96.0.2:80');
  assert.deepEqual(plan.expected, [id('wp')]);
});

const tunnel = (state: MeshState, authority = '10.0.2.1', port = 8080, peer = 'web') =>
  tunnelTo(state, { authority: { ip: parseIp(authority), port }, peer: id(peer) });
const withWaypoint = () =>
  mesh({
    workloads: [replica('wp', '10.0.2.9')],
    services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef })],
  });

const inboundCases: [string, () => InboundPlan, number | 'deliver', RegExp][] = [
  ['a tunnel to the pod', () => tunnel(mesh()), 'deliver', /tunnel/],
  ["a tunnel to another pod's address", () => tunnel(mesh(), '10.0.1.2'), 400, /asks for/],
  ['a tunnel to a port of the agent', () => tunnel(mesh(), '10.0.2.1', 15006), 503, /agent's own/],
  ['a tunnel that a policy denies', () => tunnel(mesh({ policies: [denyWeb] })), 401, /deny-web rule 0/],
  [
    'a tunnel that no ALLOW matches',
    () =>
      tunnel(
        mesh({
          policies: [
            policy('only-db', 'allow', {
              principals: [{ kind: 'exact', value: 'cluster.local/ns/shop/sa/db' }],
            }),
          ],
        }),
      ),
    401,
    /only-db/,
  ],
  [
    'a tunnel that an ALLOW matches',
    () =>
      tunnel(
        mesh({
          policies: [policy('only-web', 'allow', { principals: [{ kind: 'suffix', value: '/sa/web' }] })],
        }),
      ),
    'deliver',
    /tunnel/,
  ],
  [
    'a tunnel that an audited policy would deny',
    () => tunnel(mesh({ policies: [{ ...denyWeb, dryRun: true }] })),
    'deliver',
    /tunnel/,
  ],
  ['a tunnel that bypasses the waypoint', () => tunnel(withWaypoint()), 401, /only from its waypoint/],
  ['a tunnel from the waypoint', () => tunnel(withWaypoint(), '10.0.2.1', 8080, 'wp'), 'deliver', /waypoint/],
  [
    'a tunnel to a port that the waypoint does not serve',
    () => tunnel(withWaypoint(), '10.0.2.1', 9090),
    'deliver',
    /tunnel/,
  ],
  ['plaintext in permissive mode', () => plainTo(mesh()), 'deliver', /permitted/],
  ['plaintext in strict mode', () => plainTo(mesh({ policies: [strict] })), 401, /strict rule 0/],
  ['plaintext that bypasses the waypoint', () => plainTo(withWaypoint()), 401, /only from its waypoint/],
  [
    'plaintext that only an identity would be allowed',
    () =>
      plainTo(
        mesh({ policies: [policy('only-web', 'allow', { principals: [{ kind: 'prefix', value: '' }] })] }),
      ),
    401,
    /only-web/,
  ],
  [
    'plaintext denied by address',
    () => plainTo(mesh({ policies: [policy('block', 'deny', { sourceIps: [parseCidr('10.0.1.0/24')] })] })),
    401,
    /block/,
  ],
  [
    'a DENY without conditions',
    () => plainTo(mesh({ policies: [{ ...denyWeb, rules: [{ clauses: [] }] }] })),
    401,
    /deny-web/,
  ],
  [
    'a DENY with an empty clause',
    () => plainTo(mesh({ policies: [{ ...denyWeb, rules: [{ clauses: [{ matches: [] }] }] }] })),
    401,
    /deny-web/,
  ],
  [
    'an ALLOW without rules',
    () => plainTo(mesh({ policies: [{ ...denyWeb, action: 'allow', rules: [] }] })),
    401,
    /deny-web/,
  ],
];
for (const [name, plan, expected, why] of inboundCases) {
  test(`inbound ${name}: ${expected}`, () => {
    const result = plan();
    assert.equal(result.kind === 'refuse' ? result.status : result.kind, expected);
    assert.match(result.why, why);
  });
}

test('an open connection is authorized again with new policies, and an unaffected one is not', () => {
  const state = mesh();
  const attributes = {
    sourceIp: parseIp('10.0.1.1'),
    destinationIp: parseIp('10.0.2.1'),
    destinationPort: 80,
  };
  assert.equal(recheck(state, uid('far'), { ...attributes, identity: id('web') }), undefined);
  state.apply({ policies: [denyWeb] });
  assert.match(recheck(state, uid('far'), { ...attributes, identity: id('web') }) ?? '', /deny-web/);
  assert.equal(recheck(state, uid('far'), { ...attributes, identity: id('near') }), undefined);
});

test('updates in any order give the same result for an address', () => {
  const [a, b] = [workload('a', '10.0.3.1', 'n2'), workload('b', '10.0.3.1', 'n2')];
  const pick = (list: Workload[]) =>
    mesh({ workloads: list }).workloadByAddress(parseIp('10.0.3.1'), undefined)?.name;
  assert.equal(pick([a, b]), pick([b, a]));
  const state = mesh({ workloads: [a, b] });
  state.apply({ removed: [a.uid] });
  assert.equal(state.workloadByAddress(parseIp('10.0.3.1'), undefined)?.name, 'b');
});

test('an endpoint that could not be reached is not chosen again; without another endpoint the plan refuses', () => {
  const state = mesh({ workloads: [workload('far-2', '10.0.3.1', 'n3', behind('far'))] });
  const plan = (...avoid: string[]): OutboundPlan =>
    outboundTo(state, '10.96.0.2', 80, {
      picked: { ip: parseIp('10.0.2.1'), port: 8080 },
      avoid: new Set(avoid),
    });
  const authorityOf = (of: OutboundPlan): string | undefined =>
    of.kind === 'hbone' ? formatSocketAddress(of.authority) : undefined;
  assert.equal(authorityOf(plan()), '10.0.2.1:8080');
  assert.equal(authorityOf(plan('10.0.2.1:8080')), '10.0.3.1:8080');
  const none = plan('10.0.2.1:8080', '10.0.3.1:8080');
  assert.ok(none.kind === 'refuse' && none.code === 'WEFT_NO_HEALTHY_ENDPOINT');
});

const onlyWeb = policy('only-web', 'allow', {
  serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }],
});
const onlyGet = policy('only-get', 'allow', { http: { ...anyRequest, methods: ['GET'] } });
const noPost = policy('no-post', 'deny', { http: { ...anyRequest, methods: ['POST'] } });

function throughTunnel(state: MeshState, peer: string, claimed: string | undefined, port = 8080) {
  return tunnelTo(state, {
    authority: { ip: parseIp('10.0.2.1'), port },
    remote: parseIp('10.0.2.9'),
    peer: id(peer),
    client: { identity: claimed === undefined ? undefined : id(claimed), ip: parseIp('10.0.1.1') },
  });
}

test('only its own workloads trust a statement of a waypoint about its client', () => {
  const state = withWaypoint();
  state.apply({ policies: [onlyWeb] });
  const plan = throughTunnel(state, 'wp', 'web');
  assert.equal(plan.kind, 'deliver');
  assert.ok(
    plan.kind === 'deliver' &&
      plan.attributes.identity === id('web') &&
      plan.attributes.sourceIp === '10.0.1.1',
  );
  assert.equal(throughTunnel(state, 'wp', 'intruder').kind, 'refuse');
  // A waypoint that states no client connects on its own behalf.
  assert.equal(throughTunnel(state, 'wp', undefined).kind, 'refuse');
  // On a port that no waypoint serves, every peer connects on its own behalf.
  assert.equal(throughTunnel(state, 'wp', 'web', 9090).kind, 'refuse');
  const without = mesh({ policies: [onlyWeb] });
  const claim = throughTunnel(without, 'intruder', 'web');
  assert.ok(claim.kind === 'refuse' && claim.code === 'WEFT_DENIED');
});

test('request conditions are authorized by the waypoint; without one, a DENY applies and an ALLOW does not', () => {
  const byWaypoint = withWaypoint();
  byWaypoint.apply({ policies: [onlyGet, noPost] });
  assert.equal(throughTunnel(byWaypoint, 'wp', 'web').kind, 'deliver');
  assert.equal(throughTunnel(byWaypoint, 'wp', 'web', 9090).kind, 'refuse');
  for (const one of [onlyGet, noPost]) {
    const state = mesh({ policies: [one] });
    assert.equal(throughTunnel(state, 'web', undefined).kind, 'refuse', one.name);
    assert.equal(plainTo(state).kind, 'refuse', one.name);
    const same = outbound(mesh({ policies: [one] }), '10.96.0.1', 80);
    assert.ok(same.kind === 'refuse' && same.code === 'WEFT_DENIED', `${one.name} on one node`);
  }
});

test('a connection that is older than the waypoint is closed once there is one', () => {
  const attributes = { sourceIp: parseIp('10.0.1.1'), destinationIp: parseIp('10.0.2.1') };
  const web = { ...attributes, destinationPort: 8080, identity: id('web') };
  assert.equal(recheck(mesh(), uid('far'), web), undefined);
  assert.match(recheck(withWaypoint(), uid('far'), web) ?? '', /only from its waypoint/);
  assert.equal(
    recheck(withWaypoint(), uid('far'), { ...web, http: 'authorized-by-waypoint' }, id('wp')),
    undefined,
  );
  assert.equal(recheck(withWaypoint(), uid('far'), { ...web, destinationPort: 9090 }), undefined);
});

test('a Service without a waypoint leads to the waypoint of its pods’ other Service, and no route of that applies', () => {
  const state = mesh({
    workloads: [
      replica('wp', '10.0.2.9'),
      workload('far', '10.0.2.1', 'n2', {
        services: new Map([...behind('far').services, ...behind('side').services]),
      }),
    ],
    services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef }), service('side', '10.96.0.9')],
  });
  const plan = outbound(state, '10.96.0.9', 80);
  assert.ok(plan.kind === 'hbone' && plan.next.ip === '10.0.2.9');
  assert.equal(formatSocketAddress(plan.authority), '10.0.2.1:8080');
});

test('if one replica of a waypoint cannot be reached, another is dialed', () => {
  const state = mesh({
    workloads: [replica('wp', '10.0.2.9'), replica('wp-2', '10.0.2.8')],
    services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef })],
  });
  const plan = (...avoid: string[]) => outboundTo(state, '10.96.0.2', 80, { avoid: new Set(avoid) });
  const first = plan();
  assert.ok(first.kind === 'hbone');
  const second = plan(`${first.next.ip}:15008`);
  assert.ok(second.kind === 'hbone' && second.next.ip !== first.next.ip);
  const none = plan('10.0.2.9:15008', '10.0.2.8:15008');
  assert.ok(none.kind === 'refuse' && none.code === 'WEFT_WAYPOINT_MISSING');
});

test('a pod with a waypoint’s labels is no waypoint: neither dialed nor trusted', () => {
  const state = mesh({
    // A pod behind the waypoint's Service by its labels, with an account of its own; and a pod with the waypoint's account that accepts no
    // tunnels.
    workloads: [
      workload('wp-false', '10.0.2.7', 'n2', { ...behind('wp', 15008), nativeTunnel: true }),
      workload('wp', '10.0.2.6', 'n2', behind('wp', 15008)),
    ],
    services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef })],
  });
  const plan = outbound(state, '10.96.0.2', 80);
  assert.ok(plan.kind === 'refuse' && plan.code === 'WEFT_WAYPOINT_MISSING');
  for (const peer of ['wp-false', 'wp']) {
    const claim = throughTunnel(state, peer, 'web');
    assert.ok(claim.kind === 'refuse' && claim.code === 'WEFT_AROUND_WAYPOINT', peer);
  }
});

test('manually written endpoints close their pod’s port as labels do', () => {
  const state = mesh({
    workloads: [
      replica('wp', '10.0.2.9'),
      // An endpoint of an EndpointSlice: the pod's address under another name.
      workload('slice', '10.0.2.1', 'n2', { tunnel: 'none', ...behind('hand') }),
    ],
    services: [service('hand', '10.96.0.8', 8080, { waypoint: waypointRef })],
  });
  assert.equal(tunnel(state).kind, 'refuse');
  assert.equal(plainTo(state).kind, 'refuse');
  const trusted = throughTunnel(state, 'wp', 'web');
  assert.ok(trusted.kind === 'deliver' && trusted.attributes.identity === id('web'));
  assert.equal(tunnel(state, '10.0.2.1', 9090).kind, 'deliver');
});

test('an ExternalService takes no address of a Service or of a pod of the mesh', () => {
  const elsewhere = (ip: string): Service =>
    service('evil', ip, 8080, { key: 'shop/evil.example' as Service['key'], hostname: 'evil.example' });
  for (const ip of ['10.96.0.2', '10.0.2.1']) {
    const state = mesh();
    const before = outbound(state, ip, ip === '10.0.2.1' ? 8080 : 80);
    state.apply({
      services: [elsewhere(ip)],
      workloads: [
        workload('evil', '10.0.9.9', 'n2', {
          services: new Map([['shop/evil.example' as Service['key'], service('far', ip).ports]]),
        }),
      ],
    });
    assert.deepEqual(outbound(state, ip, ip === '10.0.2.1' ? 8080 : 80), before);
  }
});

test('a pod whose destinations are bounded reaches the Services that are listed and their pods, and nothing else of the mesh', () => {
  const listed = ['shop/far.shop.svc.cluster.local'];
  const kinds = (outboundHosts: readonly string[]): readonly string[] =>
    (
      [
        ['10.96.0.2', 80],
        ['10.0.2.1', 8080],
        ['10.96.0.1', 80],
        ['10.0.1.2', 8080],
        ['10.0.2.2', 80],
      ] as const
    ).map(([ip, port]) => outbound(mesh(), ip, port, pod('web', '10.0.1.1', { outboundHosts })).kind);
  assert.deepEqual(kinds(listed), ['hbone', 'hbone', 'refuse', 'refuse', 'refuse']);
  assert.deepEqual(kinds(['shop/*']), ['hbone', 'hbone', 'local', 'local', 'plain']);
  assert.deepEqual(kinds([]), ['refuse', 'refuse', 'refuse', 'refuse', 'refuse']);
  const plan = outbound(mesh(), '10.96.0.1', 80, pod('web', '10.0.1.1', { outboundHosts: listed }));
  assert.ok(plan.kind === 'refuse' && plan.code === 'WEFT_DESTINATION_UNKNOWN');
  assert.match(plan.why, /Sidecar/);
});
