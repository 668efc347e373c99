/** What the control plane sends `weft explain` says the same as the whole mesh, on random objects and questions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExplainSource } from '../../control/explain/explained.js';
import { snapshotOf } from '../../control/policy-mesh/policy-mesh.js';
import { loadTexts } from '../../control/migrate/load.js';
import { errorText } from '../../src/base/errors.js';
import { explain, type Question } from '../../src/cli/explain/explain.js';
import { readMesh } from '../../src/cli/explain/explained-mesh.js';
import { asInCluster, ExplainMesh } from '../../src/cli/explain/mesh.js';
import type { Explanation } from '../../src/cli/explain/result.js';
import { requestOf } from '../../src/cli/explain/request.js';
import type { ExplainedMesh } from '../../src/model/explained-mesh.js';
import type { MeshSnapshot } from '../../src/state/snapshot.js';
import { randomOf } from '../support/random.js';

const root = 'weft-system';
const namespaces = ['shop', 'bank', 'edge'] as const;
const apps = ['web', 'api', 'db'] as const;
type Roll = (below: number) => number;

/** Manifests of a mesh: pods, Services with and without a waypoint, routes, policies and settings, some of which lead to other namespaces. */
function manifests(roll: Roll): string {
  const pick = <T>(all: readonly T[]): T => all[roll(all.length)] as T;
  const documents: object[] = [];
  const add = (apiVersion: string, kind: string, namespace: string, name: string, rest: object): void =>
    void documents.push({
      apiVersion,
      kind,
      metadata: { name, ...(namespace ? { namespace } : {}) },
      ...rest,
    });
  let ip = 1;
  const reference = (): object => ({ name: pick(apps), namespace: pick(namespaces), port: 80 });
  for (const namespace of [...namespaces, root]) {
    documents.push({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name: namespace,
        labels: {
          'weft.dev/mesh': roll(6) > 0 ? 'enabled' : 'disabled',
          ...(roll(3) === 0 ? { 'istio.io/use-waypoint': 'wp' } : {}),
        },
      },
    });
    if (roll(6) > 0) {
      add('gateway.networking.k8s.io/v1', 'Gateway', namespace, 'wp', {
        spec: {
          gatewayClassName: 'weft-waypoint',
          listeners: [
            {
              name: 'mesh',
              port: 15008,
              protocol: 'HBONE',
              ...(roll(2) === 0 ? { allowedRoutes: { namespaces: { from: 'All' } } } : {}),
            },
          ],
        },
      });
      if (roll(6) > 0) {
        documents.push(
          pod(
            namespace,
            'wp-1',
            `10.1.0.${ip++}`,
            pick(['n1', 'n2']),
            { 'gateway.networking.k8s.io/gateway-name': 'wp' },
            'wp',
          ),
        );
        documents.push(
          service(
            namespace,
            'wp',
            `10.96.1.${ip++}`,
            { 'gateway.networking.k8s.io/gateway-name': 'wp' },
            15008,
            {},
          ),
        );
      }
    }
  }
  for (const namespace of namespaces)
    for (const app of apps) {
      for (let i = 0; i <= roll(2); i++)
        documents.push(pod(namespace, `${app}-${i}`, `10.1.1.${ip++}`, pick(['n1', 'n2']), { app }, app));
      const waypoint =
        roll(3) === 0
          ? {
              'istio.io/use-waypoint': 'wp',
              ...(roll(2) === 0 ? { 'istio.io/use-waypoint-namespace': pick(namespaces) } : {}),
            }
          : {};
      documents.push(
        service(namespace, app, `10.96.0.${ip++}`, roll(5) === 0 ? undefined : { app }, 8080, waypoint),
      );
    }
  for (let i = 0; i < 12; i++) {
    const own = pick(namespaces);
    add('gateway.networking.k8s.io/v1', 'HTTPRoute', own, `route-${i}`, {
      spec: {
        parentRefs: [
          { group: '', kind: 'Service', ...reference(), ...(roll(3) > 0 ? { namespace: own } : {}) },
        ],
        rules: [
          {
            matches: [{ path: { type: 'PathPrefix', value: pick(['/', '/admin']) } }],
            ...(roll(3) === 0
              ? { filters: [{ type: 'RequestMirror', requestMirror: { backendRef: reference() } }] }
              : roll(3) === 0
                ? {
                    filters: [
                      {
                        type: 'RequestHeaderModifier',
                        requestHeaderModifier: { set: [{ name: 'x-key', value: 'secret-of-a-route' }] },
                      },
                    ],
                  }
                : {}),
            backendRefs: [reference(), ...(roll(2) === 0 ? [reference()] : [])],
          },
        ],
      },
    });
  }
  if (roll(4) > 0)
    for (const namespace of namespaces)
      add('gateway.networking.k8s.io/v1beta1', 'ReferenceGrant', namespace, 'all', {
        spec: {
          from: namespaces.map((from) => ({
            group: 'gateway.networking.k8s.io',
            kind: 'HTTPRoute',
            namespace: from,
          })),
          to: [{ group: '', kind: 'Service' }],
        },
      });
  for (let i = 0; i < 5; i++) {
    const namespace = pick([...namespaces, root]);
    add('weft.dev/v1alpha1', 'AccessPolicy', namespace, `policy-${i}`, {
      spec: {
        action: pick(['ALLOW', 'DENY']),
        ...(roll(2) === 0 && namespace !== root
          ? { targetRefs: [{ group: '', kind: 'Service', name: pick(apps) }] }
          : roll(2) === 0 && namespace !== root
            ? { selector: { matchLabels: { app: pick(apps) } } }
            : {}),
        rules: [{ from: [{ namespaces: [pick(namespaces)] }] }],
      },
    });
  }
  for (let i = 0; i < 2; i++)
    add('weft.dev/v1alpha1', 'TrafficPolicy', pick(namespaces), `traffic-${i}`, {
      spec: {
        targetRefs: [{ group: '', kind: 'Service', name: pick(apps) }],
        ...(roll(2) === 0
          ? { externalAuthorization: { service: { name: pick(apps), port: 80 }, protocol: 'http' } }
          : { timeouts: { request: '5s' } }),
      },
    });
  // An endpoint that somebody else's pod may have, too.
  documents.push({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: 'handwritten',
      namespace: pick(namespaces),
      labels: { 'kubernetes.io/service-name': pick(apps) },
    },
    addressType: 'IPv4',
    endpoints: [{ addresses: [`10.1.1.${1 + roll(30)}`], conditions: { ready: true } }],
    ports: [{ port: 8080 }],
  });
  return documents.map((one) => JSON.stringify(one)).join('\n---\n');
}

const pod = (
  namespace: string,
  name: string,
  ip: string,
  node: string,
  labels: object,
  account: string,
): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace, uid: `${namespace}-${name}`, labels },
  spec: { nodeName: node, serviceAccountName: account, containers: [] },
  status: { phase: 'Running', podIPs: [{ ip }], conditions: [{ type: 'Ready', status: 'True' }] },
});
const service = (
  namespace: string,
  name: string,
  ip: string,
  selector: object | undefined,
  targetPort: number,
  labels: object,
): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace, labels },
  spec: {
    ...(selector ? { selector } : {}),
    clusterIPs: [ip],
    ports: [{ port: targetPort === 15008 ? 15008 : 80, targetPort }],
  },
});

async function said(snapshot: MeshSnapshot, question: Question): Promise<unknown> {
  try {
    return await explain(new ExplainMesh(asInCluster(snapshot).snapshot), question);
  } catch (error) {
    return errorText(error).replace(/:.*/, '');
  }
}

/** Outcome and path of each way, and what was at work. */
const pathsOf = ({ ways }: Explanation): readonly string[] =>
  ways.flatMap(({ outcome, path, code, policy, waypoint }) => [
    `${outcome} ${path} ${code ?? ''}`.trim(),
    ...(policy === undefined ? [] : ['policy']),
    ...(waypoint?.route === undefined ? [] : ['route']),
    ...((waypoint?.filters.length ?? 0) === 0 ? [] : ['filter']),
  ]);

const everything = (all: readonly string[]): Promise<ReadonlySet<string>> => Promise.resolve(new Set(all));
/** As it arrives at the command. */
const sent = (one: ExplainedMesh): ExplainedMesh => JSON.parse(JSON.stringify(one)) as ExplainedMesh;

test('what concerns two ends says the same as the whole mesh, on random meshes and questions', async (t) => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= 40; seed++)
    await t.test(`seed ${seed}`, async () => {
      const roll = randomOf(seed);
      const pick = <T>(all: readonly T[]): T => all[roll(all.length)] as T;
      const text = manifests(roll);
      const { objects, problems } = loadTexts([{ file: 'mesh.yaml', text }]);
      assert.deepEqual(problems, []);
      const whole = snapshotOf(objects, root);
      const source = new ExplainSource({ whole: () => whole, rootNamespace: root });
      const addresses = (whole.mesh.workloads ?? []).flatMap((one) => one.addresses);
      for (let i = 0; i < 30; i++) {
        const destination = pick([
          `${pick(namespaces)}/${pick(apps)}:80`,
          `${pick(apps)}.${pick(namespaces)}.svc:80`,
          `${pick(apps)}:80`,
          `${pick(namespaces)}/${pick(apps)}-0:8080`,
          `${pick(addresses)}:8080`,
          `${pick((whole.mesh.services ?? []).flatMap((one) => one.addresses.map((at) => at.ip)))}:80`,
          '192.0.2.1:443',
        ]);
        const client =
          roll(4) === 0
            ? { identity: `spiffe://cluster.local/ns/${pick(namespaces)}/sa/${pick([...apps, 'unknown'])}` }
            : {
                source: pick([
                  `${pick(namespaces)}/${pick(apps)}`,
                  `${pick(namespaces)}/${pick(apps)}-0`,
                  pick(addresses),
                  '192.0.2.9',
                ]),
              };
        const question: Question = {
          ...client,
          destination,
          request: requestOf(roll(4) === 0 ? { tcp: true } : { path: pick(['/', '/admin']) }),
        };
        const expected = await said(whole, question);
        const { snapshot, problems: unread } = readMesh(sent(await source.query(question, everything)));
        assert.deepEqual(unread, []);
        assert.deepEqual(await said(snapshot, question), expected, JSON.stringify({ question, text }));
        for (const one of typeof expected === 'string' ? [expected] : pathsOf(expected as Explanation))
          seen.set(one, (seen.get(one) ?? 0) + 1);
      }
    });
  const isSeen = (what: string, times: number): boolean => (seen.get(what) ?? 0) >= times;
  assert.ok(
    [
      'allowed waypoint',
      'allowed kernel',
      'allowed hbone',
      'refused refused WEFT_DENIED',
      'route',
      'filter',
    ].every((one) => isSeen(one, 30)),
    JSON.stringify([...seen]),
  );
});
