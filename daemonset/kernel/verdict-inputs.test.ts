import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { PolicyKey } from '../../src/model/policy.js';
import type { ServiceKey, Workload, WorkloadUid } from '../../src/model/workload.js';
import { MeshState, type MeshUpdate } from '../../src/state/store.js';
import { pod, policy, service, workload } from '../../test/support/mesh.js';
import { randomOf } from '../../test/support/random.js';
import type { LocalPod } from '../worker-ipc.js';
import { verdictInputsOf } from './verdict-inputs.js';
import { isKernelPathAllowed } from './verdicts.js';

const namespaces = ['shop', 'bank'];
const account = (namespace: string, name: string) =>
  parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${name}`);
const keyOf = (namespace: string, name: string): ServiceKey =>
  `${namespace}/${name}.${namespace}.svc.cluster.local` as ServiceKey;
/** Two pods per namespace, and a machine's Workload; some run under a service account whose name a waypoint may have. */
const locals: readonly LocalPod[] = Array.from({ length: 5 }, (_, i) => {
  const namespace = namespaces[i % 2] ?? '';
  const name = `p${i}`;
  const kind = i === 4 ? 'Kubernetes/weft.dev/Workload' : 'Kubernetes//Pod';
  return {
    pod: pod(name, `10.0.0.${i + 1}`, {
      uid: `${kind}/${namespace}/${name}` as WorkloadUid,
      namespace,
      identity: account(namespace, i < 2 ? 'wp' : name),
    }),
    netns: { cookie: BigInt(i + 1), path: '' },
  };
});

/** One random resource update: of pods, of owners of their addresses, of Services, waypoints or policies. */
function randomChange(random: (below: number) => number): MeshUpdate {
  const pick = <T>(of: readonly T[]): T => of[random(of.length)] as T;
  const namespace = pick(namespaces);
  const services = () =>
    new Map(
      ['s0', 's1', 'wp']
        .filter(() => random(3) === 0)
        .map((name) => [
          keyOf(pick([namespace, namespace, pick(namespaces)]), name),
          [{ servicePort: 80, targetPort: pick([80, 81]), appProtocol: 'unknown' as const }],
        ]),
    );
  const ip = `10.0.0.${1 + random(5)}`;
  switch (random(9)) {
    case 0:
    case 1: {
      const { pod: own } = pick(locals);
      return {
        workloads: [
          workload(own.name, own.addresses[0] ?? '', 'n1', {
            uid: own.uid,
            namespace: own.namespace,
            identity: own.identity,
            healthy: random(4) > 0,
            hostNetwork: random(12) === 0,
            tunnel: random(8) === 0 ? 'none' : 'hbone',
            policies: [0, 1, 2].filter(() => random(3) === 0).map((i) => `shop/policy-${i}`),
            services: services(),
            ...(random(3) === 0 ? { scope: 'namespace' as const } : {}),
          }),
        ],
      };
    }
    case 2: {
      const kind = pick(['discovery.k8s.io/EndpointSlice', 'weft.dev/Workload', '/Pod']);
      const other: Workload = workload('other', ip, 'n2', {
        uid: `Kubernetes/${kind}/${namespace}/other-${random(2)}` as WorkloadUid,
        namespace,
        tunnel: pick(['none', 'hbone']),
        healthy: random(3) > 0,
        services: services(),
        ...(random(2) === 0 ? { scope: 'namespace' as const } : {}),
      });
      return { workloads: [other] };
    }
    case 3: {
      // Replicas of a waypoint come and go.
      const replica = workload('wp', `10.0.9.${random(3)}`, 'n2', {
        uid: `Kubernetes//Pod/${namespace}/wp-${random(2)}` as WorkloadUid,
        namespace,
        identity: account(namespace, 'wp'),
        serviceAccount: 'wp',
        nativeTunnel: random(3) > 0,
        services: new Map([
          [keyOf(namespace, 'wp'), [{ servicePort: 15008, targetPort: 15008, appProtocol: 'unknown' }]],
        ]),
      });
      return { workloads: [replica] };
    }
    case 4:
    case 5: {
      const name = pick(['s0', 's1']);
      return {
        services: [
          service(name, pick([ip, '10.96.0.1']), pick([80, 81]), {
            key: keyOf(namespace, name),
            namespace,
            hostname: pick([`${name}.${namespace}.svc.cluster.local`, `${name}.example`]),
            ...(random(3) === 0 ? { scope: 'namespace' as const } : {}),
            ...(random(2) === 0
              ? {
                  waypoint: {
                    kind: 'hostname' as const,
                    service: keyOf(pick([namespace, namespace, 'other']), 'wp'),
                    hbonePort: 15008,
                  },
                }
              : {}),
          }),
        ],
      };
    }
    case 6: {
      const name = `policy-${random(3)}`;
      return {
        policies: [
          policy(
            name,
            pick(['allow', 'deny']),
            { serviceAccounts: [{ namespace: pick(namespaces), serviceAccount: `p${random(5)}` }] },
            {
              namespace,
              key: `shop/${name}` as PolicyKey,
              scope: pick(['global', 'namespace', 'workload']),
              dryRun: random(6) === 0,
            },
          ),
        ],
      };
    }
    case 7:
      return { removedPolicies: [`shop/policy-${random(3)}`] };
    default:
      return {
        removed: [
          pick([
            `Kubernetes/discovery.k8s.io/EndpointSlice/${namespace}/other-${random(2)}`,
            `Kubernetes/weft.dev/Workload/${namespace}/other-${random(2)}`,
            `Kubernetes//Pod/${namespace}/other-${random(2)}`,
            `Kubernetes//Pod/${namespace}/wp-${random(2)}`,
            keyOf(namespace, pick(['s0', 's1'])),
            pick(locals).pod.uid,
          ]),
        ],
      };
  }
}

const isEqual = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((one, i) => one === b[i]);

test('if an update changes whether a pair may have kernel flows, the inputs of its verdicts change: 8 000 updates', () => {
  const seed = Date.now() % 1_000_000;
  const random = randomOf(seed);
  const view = new MeshState();
  const pairs = locals.flatMap((source) =>
    locals.flatMap((destination) =>
      source === destination ? [] : [80, 81].map((port) => ({ source, destination, port })),
    ),
  );
  const decide = (): boolean[] =>
    pairs.map(({ source, destination, port }) => isKernelPathAllowed(view, source, destination, port, 'n1'));
  const marks = () => new Map(locals.map((local) => [local, verdictInputsOf(view, local.pod)]));
  let [decisions, rests] = [decide(), marks()];
  let [changed, kept] = [0, 0];
  for (let round = 0; round < 8_000; round++) {
    view.apply(randomChange(random));
    const [now, restsNow] = [decide(), marks()];
    for (const [i, { destination, source, port }] of pairs.entries()) {
      const isSame = isEqual(rests.get(destination) ?? [], restsNow.get(destination) ?? []);
      if (isSame) kept++;
      if (decisions[i] === now[i]) continue;
      changed++;
      const pair = `${source.pod.uid} to ${destination.pod.uid} port ${port}`;
      assert.ok(!isSame, `seed ${seed}, round ${round}: ${pair}: ${decisions[i]} became ${now[i]}`);
    }
    [decisions, rests] = [now, restsNow];
  }
  // The test is void if no update changes a result, or if every update changes the inputs.
  assert.ok(changed > 2_000 && kept > pairs.length * 2_000, `${changed} changed, ${kept} kept`);
});

test("another namespace's endpoints and Services at a pod's address change no inputs, so they cost the pod's clients nothing", () => {
  const [, victim] = locals;
  assert.ok(victim);
  const view = new MeshState();
  view.apply({
    workloads: [
      workload('p1', '10.0.0.2', 'n1', {
        uid: victim.pod.uid,
        namespace: 'bank',
        identity: victim.pod.identity,
      }),
    ],
  });
  const before = verdictInputsOf(view, victim.pod);
  view.apply({
    workloads: ['discovery.k8s.io/EndpointSlice', 'weft.dev/Workload'].map((kind) =>
      workload('trap', '10.0.0.2', 'n1', {
        uid: `Kubernetes/${kind}/evil/trap` as WorkloadUid,
        namespace: 'evil',
        services: new Map([
          [keyOf('evil', 'trap'), [{ servicePort: 80, targetPort: 80, appProtocol: 'unknown' }]],
        ]),
      }),
    ),
    services: [
      service('trap', '10.0.0.2', 80, { key: keyOf('evil', 'trap'), namespace: 'evil', addresses: [] }),
      service('pay', '10.0.0.2', 80, {
        key: 'evil/pay.example' as ServiceKey,
        namespace: 'evil',
        hostname: 'pay.example',
        addresses: [{ network: '', ip: parseIp('10.0.0.2') }],
      }),
    ],
  });
  assert.ok(isEqual(before, verdictInputsOf(view, victim.pod)));
});
