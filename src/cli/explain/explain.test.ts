/** What `weft explain` says is what happens: compared with real nodes and waypoints, on random meshes. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { errorText } from '../../base/errors.js';
import { parseCidr } from '../../model/address.js';
import type { SpiffeId } from '../../model/identity.js';
import {
  emptyHttpMatch,
  emptyMatch,
  type AuthorizationPolicy,
  type HttpMatch,
  type PolicyKey,
  type PolicyMatch,
} from '../../model/policy.js';
import type { Route, RouteBackend, RouteFilter, RouteKey, RouteRule } from '../../model/route.js';
import { partOf } from '../../state/mesh-part.js';
import type { MeshSnapshot } from '../../state/snapshot.js';
import { domain, identity, pod as nodePod } from '../../../test/support/mesh.js';
import { randomOf } from '../../../test/support/random.js';
import {
  echoing,
  request as send,
  serviceKey,
  serviceOf,
  status,
  TestMesh,
  uidOf,
  waypointRef,
} from '../../../test/threats/support/mesh.js';
import { explain } from './explain.js';
import { ExplainMesh } from './mesh.js';
import { requestOf } from './request.js';
import type { Explanation } from './result.js';

const isOfSchema = new Ajv({ strict: false }).compile(
  JSON.parse(
    readFileSync(new URL('../../../../docs/explain.schema.json', import.meta.url), 'utf8'),
  ) as object,
);

type Roll = (below: number) => number;

const accounts = [
  ['shop', 'web'],
  ['shop', 'admin'],
  ['other', 'job'],
] as const;
const paths = ['/', '/public', '/public/x', '/admin', '/moved', '/v2/x'];
const api = serviceKey('shop', 'api');
const plain = serviceKey('shop', 'plain');
const far = serviceKey('other', 'far');

function randomPolicies(roll: Roll, port: number): AuthorizationPolicy[] {
  const pick = <T>(all: readonly T[]): T => all[roll(all.length)] as T;
  const some = <T>(all: readonly T[], percent: number): T[] => (roll(100) < percent ? [pick(all)] : []);
  const http = (): HttpMatch => ({
    ...emptyHttpMatch,
    paths: some(
      [
        { kind: 'prefix' as const, value: '/public' },
        { kind: 'exact' as const, value: '/admin' },
      ],
      60,
    ),
    methods: some(['GET', 'POST'], 30),
    headers: some(
      [{ name: 'x-role', values: [{ kind: 'exact' as const, value: 'admin' }], negated: false }],
      20,
    ),
  });
  const match = (): PolicyMatch => ({
    ...emptyMatch,
    serviceAccounts: some(
      accounts.map(([namespace, serviceAccount]) => ({ namespace, serviceAccount })),
      50,
    ),
    sourceIps: some(['127.9.0.1/32', '127.9.0.0/30'].map(parseCidr), 15),
    destinationPorts: some([80, port], 25),
    ...(roll(2) ? { http: http() } : {}),
  });
  return Array.from({ length: roll(4) }, (_, i): AuthorizationPolicy => {
    const namespace = pick(['shop', 'shop', 'other']);
    const services = namespace === 'shop' && roll(3) === 0 ? [api] : [];
    return {
      key: `${namespace}/p${i}` as PolicyKey,
      name: `p${i}`,
      namespace,
      scope: services.length > 0 ? 'workload' : 'namespace',
      services,
      action: pick(['allow', 'allow', 'deny']),
      rules: Array.from({ length: 1 + roll(2) }, () => ({ clauses: [{ matches: [match()] }] })),
      dryRun: roll(5) === 0,
    };
  });
}

function randomRoutes(roll: Roll): Route[] {
  if (roll(3) === 0) return [];
  const pick = <T>(all: readonly T[]): T => all[roll(all.length)] as T;
  const to = (service: typeof api, weight = 1): RouteBackend => ({
    target: { kind: 'service', service, port: 80 },
    weight,
    filters: [],
  });
  const filters = (): RouteFilter[] =>
    pick<RouteFilter[]>([
      [],
      [],
      [{ $case: 'directResponse', value: { status: pick([200, 403]), body: Buffer.from('x') } }],
      [
        {
          $case: 'redirect',
          value: { scheme: '', hostname: 'a.example', port: 0, path: undefined, statusCode: 302 },
        },
      ],
      [
        {
          $case: 'rewrite',
          value: {
            hostname: '',
            path: { kind: 'full', value: pick(['/admin', '/public/y']) },
            pathSubstitution: undefined,
          },
        },
      ],
    ]);
  const rule = (): RouteRule => ({
    matches: roll(2)
      ? [{ path: { kind: 'prefix', value: pick(['/public', '/moved', '/v2']) }, headers: [], query: [] }]
      : [],
    filters: filters(),
    backends: pick<RouteBackend[]>([
      [to(api)],
      [to(plain)],
      [to(api, 3), to(far, 1)],
      [{ target: { kind: 'invalid', reason: 'there is no such Service' }, weight: 1, filters: [] }],
    ]),
  });
  return [
    {
      key: 'HTTPRoute/shop/api' as RouteKey,
      kind: 'http',
      namespace: 'shop',
      name: 'api',
      createdMs: 1,
      parents: [{ service: api }],
      rules: Array.from({ length: 1 + roll(2) }, rule),
    },
  ];
}

/** What really happens to the request. */
async function happens(
  mesh: TestMesh,
  as: SpiffeId,
  from: string,
  to: { readonly ip: string; readonly identity: SpiffeId },
  authority: string,
  path: string | undefined,
  headers: readonly string[],
): Promise<string> {
  try {
    const stream = await mesh.tunnel(as, from, to, authority);
    const answer = path === undefined ? await sendBytes(stream) : await send(stream, path, headers);
    stream.destroy();
    return answer === '' ? 'reset' : String(status(answer));
  } catch (error) {
    return `tunnel refused: ${errorText(error)}`;
  }
}

/** Bytes of no protocol that a waypoint knows; the application responds to them as to a request. */
function sendBytes(stream: Duplex): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    stream.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      if (text.includes('\r\n\r\n')) resolve(text);
    });
    stream.once('close', () => resolve(text));
    stream.write(Buffer.from('\u0000\u0001\u0002\u0003\r\n\r\n'));
  });
}

const isAllowed = (seen: string): boolean => /^[23]\d\d$/.test(seen);

test('what explain says is what happens, on random meshes with policies, routes and a waypoint', async (t) => {
  const seen = { allowed: 0, refused: 0, depends: 0, unknown: 0 };
  for (let seed = 1; seed <= 25; seed++) {
    await t.test(`seed ${seed}`, async (inner) => {
      const roll = randomOf(seed);
      const mesh = new TestMesh(inner);
      await mesh.waypoint('shop', 'wp', '127.9.1.1');
      const a = await mesh.pod('shop', 'a', '127.9.2.1', echoing('a'), ['api']);
      const b = await mesh.pod('shop', 'b', '127.9.2.2', echoing('b'), ['plain']);
      const c = await mesh.pod('other', 'c', '127.9.2.3', echoing('c'), []);
      mesh.apply({
        services: [
          serviceOf('shop', 'api', '10.96.1.1', a.port, { waypoint: waypointRef('shop', 'wp') }),
          serviceOf('shop', 'plain', '10.96.1.2', b.port),
          serviceOf('other', 'far', '10.96.1.3', c.port),
        ],
        workloads: [
          {
            ...c.workload,
            services: new Map([[far, [{ servicePort: 80, targetPort: c.port, appProtocol: 'unknown' }]]]),
          },
        ],
        policies: randomPolicies(roll, a.port),
      });
      mesh.route(...randomRoutes(roll));
      const clients = accounts.map(([namespace, name], i) => ({
        namespace,
        name,
        ip: `127.9.0.${i + 1}`,
        identity: identity(namespace, name),
      }));
      const state = mesh.state();
      const pods = [a, b, c].map(({ workload }) => ({
        node: workload.node,
        pod: nodePod(workload.name, workload.addresses[0] ?? '', {
          uid: workload.uid,
          namespace: workload.namespace,
          identity: workload.identity,
        }),
      }));
      const own = clients.map(({ namespace, name, ip, identity: id }) => ({
        node: 'clients',
        pod: nodePod(name, ip, { uid: uidOf(namespace, name), namespace, identity: id }),
      }));
      const [like] = state.mesh.workloads ?? [];
      assert.ok(like);
      const snapshot: MeshSnapshot = {
        trustDomain: domain,
        mesh: {
          ...state.mesh,
          workloads: [
            ...(state.mesh.workloads ?? []),
            ...own.map(({ pod }) => ({
              ...a.workload,
              uid: pod.uid,
              name: pod.name,
              workloadName: pod.name,
              namespace: pod.namespace,
              identity: pod.identity,
              serviceAccount: pod.name,
              addresses: pod.addresses,
              node: 'clients',
              services: new Map(),
            })),
          ],
        },
        pods: [],
        nodePods: [...pods, ...own],
        routes: state.routes,
        servicePolicies: [],
        withoutAddress: [],
        waypoints: ['shop/wp'],
      };
      const explained = new ExplainMesh(snapshot);
      const wp = { ip: '127.9.1.1', identity: identity('shop', 'wp') };
      for (let i = 0; i < 12; i++) {
        const client = clients[roll(clients.length)];
        assert.ok(client);
        // Undefined: a connection that is not HTTP.
        const path = roll(6) === 0 ? undefined : (paths[roll(paths.length)] ?? '/');
        const header = roll(3) === 0 ? ['x-role: admin'] : [];
        const target = roll(4);
        const direct = (one: typeof a) => ({
          ip: one.workload.addresses[0] ?? '',
          identity: one.workload.identity,
        });
        // Where the client's node would open the tunnel, and what for.
        const [destination, to, authority] = [
          ['shop/api', wp, '10.96.1.1:80'],
          [`127.9.2.1:${a.port}`, wp, `127.9.2.1:${a.port}`],
          ['shop/plain', direct(b), `127.9.2.2:${b.port}`],
          ['far.other', direct(c), `127.9.2.3:${c.port}`],
        ][target] as [string, typeof wp, string];
        const question = {
          source: `${client.namespace}/${client.name}`,
          destination,
          request: requestOf(
            path === undefined ? { tcp: true } : { method: 'GET', path, host: 'api', header },
          ),
        };
        const answer = await explain(explained, question);
        const { snapshot: part } = partOf(snapshot, question);
        assert.deepEqual(
          await explain(new ExplainMesh(part), question),
          answer,
          'what concerns both is enough',
        );
        const real = await happens(mesh, client.identity, client.ip, to, authority, path, header);
        const what = `${client.name} -> ${destination} ${path} ${header.join()}: explain: ${JSON.stringify(brief(answer))}, real: ${real}; ${JSON.stringify(state.mesh.policies)} ${JSON.stringify(state.routes)}`;
        assert.ok(isOfSchema(JSON.parse(JSON.stringify(answer))), JSON.stringify(isOfSchema.errors));
        seen[answer.outcome]++;
        assert.notEqual(answer.outcome, 'unknown', what);
        if (answer.outcome !== 'depends') assert.equal(answer.outcome === 'allowed', isAllowed(real), what);
        const isByWaypoint = answer.ways.some(({ waypoint }) => waypoint !== undefined);
        assert.equal(isByWaypoint, to === wp, what);
        const shown = answer.ways[0]?.waypoint?.status;
        if (shown !== undefined) assert.equal(String(shown), real, what);
      }
    });
  }
  // The property says something about both.
  assert.ok(seen.allowed > 30 && seen.refused > 30, JSON.stringify(seen));
});

const brief = ({ outcome, ways }: Explanation): object => ({
  outcome,
  ways: ways.map(({ path, why, policy, waypoint }) => ({ path, why, policy, route: waypoint?.route })),
});
