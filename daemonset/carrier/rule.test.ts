import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp, type SocketAddress } from '../../src/model/address.js';
import { MeshState } from '../../src/state/store.js';
import {
  behind,
  id,
  pod,
  policy,
  replica,
  service,
  uid,
  waypointRef,
  workload,
} from '../../test/support/mesh.js';
import type { LocalPod } from '../worker-ipc.js';
import { decodeContext } from './context.js';
import { decidePlain, decideCaptured, decideTunnel, type Decision, type DecisionView } from './rule.js';

const at = (ip: string, port: number): SocketAddress => ({ ip: parseIp(ip), port });
const local = (name: string, ip: string, cookie: bigint): LocalPod => ({
  pod: pod(name, ip),
  netns: { cookie, path: '' },
});
const source = local('a', '10.0.0.1', 1n);
const client = at('10.0.0.1', 40_000);

function context(locals: readonly LocalPod[] = [source]): DecisionView & { view: MeshState } {
  const view = new MeshState();
  return {
    node: 'n1',
    view,
    localPod: (wanted) => locals.find((one) => one.pod.uid === wanted),
  };
}
const captured = (view: DecisionView, dialed: SocketAddress, picked?: SocketAddress, avoid: string[] = []) =>
  decideCaptured(view, source, { kind: 'captured', client, dialed, picked, avoid });
function draftOf(decision: Decision) {
  assert.equal(decision.kind, 'rule');
  const { draft } = decision as Extract<Decision, { kind: 'rule' }>;
  assert.ok(decodeContext(draft.bytes, draft.targets.length), 'its context can be read again');
  return draft;
}

test('a Service whose endpoint the kernel did not pick has one target for each endpoint', () => {
  const view = context();
  view.view.apply({
    services: [service('s', '10.1.0.1')],
    workloads: [1, 2, 3].map((n) => workload(`b${n}`, `10.0.1.${n}`, 'n2', behind('s'))),
  });
  const whole = draftOf(captured(view, at('10.1.0.1', 80)));
  assert.equal(whole.match?.$case, 'captured');
  assert.equal(whole.targets.length, 3);
  const picked = draftOf(captured(view, at('10.1.0.1', 80), at('10.0.1.2', 8080)));
  assert.equal(picked.targets.length, 1);
  assert.equal(picked.context.targets[0]?.endpoint, '10.0.1.2:8080');
  const again = draftOf(captured(view, at('10.1.0.1', 80), undefined, ['10.0.1.2:8080']));
  assert.equal(again.match, undefined, 'after a failure each connection is decided');
});

test('many endpoints, a waypoint, and a policy in audit mode are decided each time', () => {
  const view = context([source, local('b', '10.0.0.2', 2n)]);
  view.view.apply({
    services: [service('many', '10.1.0.1'), service('w', '10.1.0.2', 8080, { waypoint: waypointRef })],
    workloads: [
      ...Array.from({ length: 20 }, (_, n) => workload(`m${n}`, `10.0.2.${n + 1}`, 'n2', behind('many'))),
      workload('w1', '10.0.3.1', 'n2', behind('w')),
      workload('b', '10.0.0.2', 'n1'),
    ],
  });
  view.view.apply({ services: [service('wp', '10.1.0.9', 15008)], workloads: [replica('wp1', '10.0.4.1')] });
  const many = draftOf(captured(view, at('10.1.0.1', 80)));
  assert.deepEqual([many.match, many.targets.length], [undefined, 1]);
  const behindWaypoint = draftOf(captured(view, at('10.1.0.2', 80)));
  assert.equal(behindWaypoint.match, undefined);
  assert.equal(behindWaypoint.targets[0]?.kind?.$case, 'tunnel');
  const direct = (): Decision => captured(view, at('10.0.0.2', 8080));
  assert.equal(draftOf(direct()).match?.$case, 'captured');
  view.view.apply({
    policies: [policy('audit', 'deny', { destinationPorts: [8080] }, { dryRun: true, scope: 'namespace' })],
  });
  const audited = draftOf(direct());
  assert.equal(audited.match, undefined);
  assert.deepEqual(audited.context.targets[0]?.opening.audited, ['shop/audit']);
});

test('an address that is not the pod’s is replaced for the application and the record, and decided each time', () => {
  const destination = local('b', '10.0.0.2', 2n);
  const view = context([source, destination]);
  view.view.apply({ workloads: [workload('b', '10.0.0.2', 'n1'), workload('a', '10.0.0.1', 'n1')] });
  const draft = draftOf(
    decideCaptured(view, source, {
      kind: 'captured',
      client: at('9.9.9.9', 7),
      dialed: at('10.0.0.2', 80),
      picked: undefined,
      avoid: [],
    }),
  );
  assert.equal(draft.match, undefined);
  assert.equal(draft.context.clientIp, '10.0.0.1');
  assert.equal(draft.context.check?.attributes.sourceIp, '10.0.0.1');
  const target = draft.targets[0]?.kind;
  assert.equal(target?.$case === 'direct' && target.value.client?.port, 7);
});

test('a waypoint’s statement about its client is for one connection', () => {
  const destination = local('b', '10.0.0.2', 2n);
  const view = context([destination]);
  view.view.apply({
    workloads: [workload('b', '10.0.0.2', 'n1', { waypoint: waypointRef }), replica('wp1', '10.0.4.1')],
  });
  const about = {
    kind: 'tunnel',
    peer: id('wp'),
    remote: at('10.0.4.1', 5),
    local: parseIp('10.0.0.2'),
    authority: at('10.0.0.2', 8080),
    forwarded: 'for="10.0.0.1:999"',
    sourceIdentity: id('a'),
  } as const;
  const draft = draftOf(decideTunnel(view, destination, about));
  assert.equal(draft.match, undefined);
  assert.equal(draft.context.source.address, '10.0.0.1:999');
  assert.equal(draft.context.source.identity, id('a'));
  assert.equal(draft.context.check?.attributes.http, 'authorized-by-waypoint');
  const other = decideTunnel(view, destination, { ...about, peer: id('a') });
  assert.equal(other.kind, 'refuse');
});

test('rules of peers and of plaintext do not depend on ports of clients', () => {
  const destination = local('b', '10.0.0.2', 2n);
  const view = context([destination]);
  view.view.apply({ workloads: [workload('b', '10.0.0.2', 'n1')] });
  const tunnel = (port: number) =>
    draftOf(
      decideTunnel(view, destination, {
        kind: 'tunnel',
        peer: id('a'),
        remote: at('10.0.0.1', port),
        local: parseIp('10.0.0.2'),
        authority: at('10.0.0.2', 8080),
        forwarded: `for="10.0.0.1:${port + 1}"`,
        sourceIdentity: undefined,
      }),
    );
  assert.deepEqual(tunnel(1000).bytes, tunnel(2000).bytes);
  const plain = (port: number) =>
    draftOf(
      decidePlain(view, destination, {
        kind: 'plain',
        remote: at('10.9.0.1', port),
        local: at('10.0.0.2', 8080),
      }),
    );
  assert.deepEqual(plain(1000).bytes, plain(2000).bytes);
  assert.equal(plain(1).match?.$case, 'plain');
  assert.equal(plain(1).context.check?.uid, uid('b'));
});

test('a rule says that its requests are counted if the namespace of its pod has opted in, and no waypoint is there', () => {
  const counted = (one: LocalPod): LocalPod => ({ ...one, pod: { ...one.pod, goldenSignals: true } });
  const destination = local('b', '10.0.0.2', 2n);
  const captured = (of: LocalPod, pods: readonly LocalPod[], more: object = {}): boolean => {
    const view = context([of, ...pods]);
    const there = pods.length > 0 ? 'n1' : 'n2';
    const endpoint = workload('b', '10.0.0.2', there, { tunnel: 'hbone', ...more });
    view.view.apply({ workloads: [endpoint, workload('a', '10.0.0.1', 'n1'), replica('wp1', '10.0.4.1')] });
    const [client, dialed] = [at('10.0.0.1', 7), at('10.0.0.2', 8080)];
    const about = { kind: 'captured', client, dialed, picked: undefined, avoid: [] } as const;
    return draftOf(decideCaptured(view, of, about)).observe;
  };
  assert.equal(captured(source, []), false);
  assert.equal(captured(counted(source), []), true);
  assert.equal(captured(counted(source), [], { waypoint: waypointRef }), false, 'the waypoint reports them');
  // Within a node one relay serves both.
  assert.equal(captured(source, [destination]), false);
  assert.equal(captured(source, [counted(destination)]), true);
  const plain = (of: LocalPod): boolean => {
    const view = context([of]);
    view.view.apply({ workloads: [workload('b', '10.0.0.2', 'n1')] });
    const about = { kind: 'plain', remote: at('10.9.0.1', 5), local: at('10.0.0.2', 8080) } as const;
    return draftOf(decidePlain(view, of, about)).observe;
  };
  assert.equal(plain(destination), false);
  assert.equal(plain(counted(destination)), true);
});
