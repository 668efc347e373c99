/** Made-up meshes for tests of the page. The same numbers give the same mesh. */
import type { Change } from '../../src/model/change.js';
import type {
  EdgeState,
  HistoryPoint,
  HistoryState,
  MeshSnapshot,
  ProgramState,
  WorkloadState,
} from '../../src/model/mesh-snapshot.js';

/** A small generator of numbers from 0 to 1 (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const emptyMesh = (takenMs: number): MeshSnapshot => ({
  format: 1,
  takenMs,
  mesh: { kind: 'testbed', name: 'empty', version: '0.1.0' },
  fromMs: takenMs - 300_000,
  programs: [],
  workloads: [],
  edges: [],
  history: { fromMs: takenMs - 900_000, slotMs: 30_000, points: [] },
  policies: [],
  problems: [],
  changes: [],
  incomplete: [],
});

const names = [
  'web',
  'cart',
  'orders',
  'payments',
  'catalog',
  'search',
  'accounts',
  'mail',
  'stock',
  'prices',
  'images',
  'reviews',
];
const roles = ['', '-api', '-worker', '-cache', '-db', '-admin'];

export interface MadeUp {
  readonly workloads: number;
  readonly edges: number;
  readonly seed?: number;
  readonly takenMs: number;
}

function madeUpWorkloads(count: number): WorkloadState[] {
  const perNamespace = Math.max(4, Math.ceil(count / 14));
  return Array.from({ length: count }, (_, index) => {
    const namespace = ['shop', 'billing', 'search', 'media', 'platform', 'data'][
      Math.floor(index / perNamespace)
    ];
    const own = namespace ?? `team-${Math.floor(index / perNamespace)}`;
    const place = index % perNamespace;
    const role = roles[Math.floor(place / names.length)] ?? `-${Math.floor(place / names.length)}`;
    const name = `${names[place % names.length] ?? 'app'}${role}`;
    return {
      id: `${own}/${name}`,
      namespace: own,
      name,
      identity: `spiffe://cluster.local/ns/${own}/sa/${name}`,
      pods: [0, 1].map((pod) => ({
        name: `${name}-${pod}`,
        node: `node-${(index + pod) % 5}`,
        isEnrolled: index % 9 !== 8,
      })),
      services: [`${name}.${own}.svc.cluster.local`],
      ...(index % 4 === 0 ? { waypoint: `${own}/waypoint` } : {}),
    };
  });
}

function madeUpEdge(
  source: string,
  destination: string,
  index: number,
  random: () => number,
  takenMs: number,
): EdgeState {
  const isRefused = index % 11 === 7;
  const isPlain = !isRefused && index % 8 === 5;
  const path = isRefused ? 'refused' : isPlain ? 'plain' : (['kernel', 'hbone', 'waypoint'][index % 3] ?? '');
  const hasRequests = path === 'waypoint' || path === 'hbone';
  const perSecond = Math.round(10 ** (random() * 3.5 - 1) * 100) / 100;
  const requests = hasRequests ? Math.ceil(perSecond * 300) : 0;
  const share = index % 13 === 4 ? 0.91 : index % 17 === 8 ? 0.985 : 1;
  const p50 = 1 + random() * 20;
  const latencyMs = { p50, p95: p50 * 3, p99: p50 * 8 };
  return {
    id: `${source}>${destination}:8080/${path}`,
    source,
    destination,
    service: `${destination.split('/')[1] ?? ''}.${destination.split('/')[0] ?? ''}.svc.cluster.local`,
    port: 8080,
    path,
    security: isRefused
      ? 'unknown'
      : isPlain
        ? 'none'
        : path === 'kernel' && index % 2 === 0
          ? 'same-node'
          : 'mutual-tls',
    connections: isRefused ? 0 : Math.ceil(perSecond * 30),
    requests,
    refused: isRefused ? 3 + Math.floor(random() * 200) : 0,
    audited: index % 19 === 6 ? 12 : 0,
    failures: Math.round(requests * (1 - share)),
    bytesSent: Math.round(perSecond * 90_000),
    bytesReceived: Math.round(perSecond * 900_000),
    requestsPerSecond: requests / 300,
    connectionsPerSecond: isRefused ? 0 : perSecond / 10,
    ...(requests > 0
      ? { successShare: share, latencyMs, shares: Array.from({ length: slots }, (_, at) => madeUpShare(at)) }
      : {}),
    policies: isRefused ? [`${destination.split('/')[0] ?? ''}/only-frontends`] : [],
    routes:
      requests === 0
        ? []
        : [
            {
              method: 'GET',
              pathTemplate: '/items/*',
              requests: Math.ceil(requests * 0.8),
              failures: 0,
              latencyMs,
            },
            {
              method: 'POST',
              pathTemplate: '/items',
              requests: Math.floor(requests * 0.2),
              failures: Math.round(requests * (1 - share)),
              latencyMs,
            },
          ],
    lastSeenMs: takenMs - Math.floor(random() * 20_000),
  };
}

const historyMs = 900_000;
const slotMs = 30_000;
const slots = historyMs / slotMs;
/** A drop when something changed two minutes ago, and a minute in which nobody asked anything. */
const madeUpShare = (at: number): number | null =>
  at === 9 || at === 10 ? null : at < slots - 4 ? (at % 7 === 3 ? 0.995 : 1) : 0.91;

function madeUpHistory(takenMs: number): HistoryState {
  const points = Array.from({ length: slots }, (_, at): HistoryPoint => {
    const successShare = madeUpShare(at);
    return {
      timeMs: takenMs - historyMs + at * slotMs,
      connections: 40,
      requests: successShare === null ? 0 : 1_000,
      failures: successShare === null ? 0 : Math.round(1_000 * (1 - successShare)),
      refused: at % 5,
      ...(successShare === null ? {} : { successShare }),
    };
  });
  return { fromMs: takenMs - historyMs, slotMs, points };
}

function madeUpPrograms(takenMs: number, count: number): ProgramState[] {
  const expiresMs = takenMs + 11 * 3_600_000;
  return [
    { kind: 'control-plane', name: 'weft-control-0', version: '0.1.0', health: 'ready', isInSync: true },
    ...Array.from({ length: 5 }, (_, index): ProgramState => ({
      kind: 'agent',
      name: `node-${index}`,
      version: index === 4 && count > 4 ? '0.0.9' : '0.1.0',
      health: index === 3 ? 'not-ready' : 'ready',
      ...(index === 3 ? { why: 'the carrier does not respond' } : {}),
      isInSync: index !== 3,
      certificateExpiresMs: index === 3 ? takenMs + 300_000 : expiresMs,
    })),
    {
      kind: 'waypoint',
      name: 'shop/waypoint',
      version: '0.1.0',
      health: 'ready',
      isInSync: true,
      certificateExpiresMs: expiresMs,
    },
  ];
}

function madeUpChanges(takenMs: number): Change[] {
  const changed = (
    minutes: number,
    kind: string,
    name: string,
    operation: Change['operation'],
    by: string,
  ): Change => ({
    kind,
    namespace: 'shop',
    name,
    operation,
    timeMs: takenMs - minutes * 60_000,
    resources: 3,
    by,
    receivers: [
      { name: 'node-0', acknowledgedMs: takenMs - minutes * 60_000 + 40 },
      { name: 'node-3', ...(minutes < 3 ? {} : { acknowledgedMs: takenMs }) },
    ],
  });
  return [
    changed(2, 'HTTPRoute', 'cart', 'updated', 'argocd-controller'),
    changed(6, 'AccessPolicy', 'only-frontends', 'created', 'kubectl-client-side-apply'),
    changed(41, 'TrafficPolicy', 'orders-retries', 'deleted', 'helm'),
  ];
}

/** A mesh with each kind of edge, and something wrong with it. */
export function madeUpMesh({ workloads: count, edges: edgeCount, seed = 1, takenMs }: MadeUp): MeshSnapshot {
  const random = numbers(seed);
  const workloads = madeUpWorkloads(count);
  const edges = new Map<string, EdgeState>();
  for (let index = 0; edges.size < edgeCount && index < edgeCount * 20; index++) {
    const from = Math.floor(random() * count);
    // Most calls stay near: in a namespace, or in the next one.
    const near = from + 1 + Math.floor(random() ** 2 * Math.max(6, count / 10));
    const source = workloads[from];
    const destination = workloads[random() < 0.85 ? near % count : Math.floor(random() * count)];
    if (!source || !destination || source === destination) continue;
    const edge = madeUpEdge(source.id, destination.id, index, random, takenMs);
    edges.set(edge.id, edge);
  }
  return {
    ...emptyMesh(takenMs),
    mesh: { kind: 'cluster', name: 'production-eu', version: '0.1.0' },
    programs: madeUpPrograms(takenMs, count),
    workloads,
    edges: [...edges.values()],
    history: madeUpHistory(takenMs),
    policies: [
      {
        kind: 'AccessPolicy',
        namespace: 'shop',
        name: 'only-frontends',
        action: 'allow',
        isAudited: false,
        workloads: workloads.filter(({ namespace }) => namespace === 'shop').map(({ id }) => id),
        rules: ['shop/web may GET /items/* on port 8080', 'every workload of namespace platform may connect'],
        refused: 61,
        audited: 0,
      },
      {
        kind: 'AuthorizationPolicy',
        namespace: 'billing',
        name: 'no-admin',
        action: 'deny',
        isAudited: true,
        workloads: ['billing/web'],
        rules: ['everybody is denied /admin'],
        refused: 0,
        audited: 12,
      },
    ],
    problems: [
      {
        level: 'fail',
        object: 'HTTPRoute shop/cart',
        what: 'the backend Service shop/cart-v2 does not exist: its share of requests gets status 500',
        help: 'create the Service, or remove the backend from rule 0',
      },
      {
        level: 'warn',
        object: 'Namespace media',
        what: '3 pods were started before the namespace was enrolled, and are outside of the mesh',
        help: 'restart them: kubectl -n media rollout restart deployment',
      },
    ],
    changes: madeUpChanges(takenMs),
  };
}

const hostile = [
  '<img src=x onerror=document.title="owned">',
  'a\u202ereversed',
  'zero\u200bwidth',
  'line\nbreak',
  'x'.repeat(400),
  '__proto__',
  '"]\\,node{display:none}',
  '\ud800lone',
];

/** Names that somebody made to break the page. */
export function hostileMesh(takenMs: number): MeshSnapshot {
  const workloads = hostile.map((name): WorkloadState => ({
    id: `evil/${name}`,
    namespace: 'evil',
    name,
    identity: `spiffe://evil/${name}`,
    pods: [{ name, node: name }],
    services: [name],
    waypoint: name,
  }));
  const random = numbers(3);
  return {
    ...emptyMesh(takenMs),
    mesh: { kind: 'cluster', name: hostile[0] ?? '', version: hostile[1] ?? '' },
    programs: hostile.map((name) => ({ kind: 'agent', name, version: name, health: 'not-ready', why: name })),
    workloads,
    edges: workloads.map(({ id }, index) => ({
      ...madeUpEdge(id, workloads[(index + 1) % workloads.length]?.id ?? '', index, random, takenMs),
      path: index === 5 ? '__proto__' : 'hbone',
      policies: [hostile[index] ?? ''],
    })),
    policies: hostile.map((name) => ({
      kind: name,
      namespace: name,
      name,
      action: 'other',
      isAudited: true,
      workloads: [`evil/${name}`],
      rules: [name],
      refused: 1,
      audited: 1,
    })),
    problems: hostile.map((name) => ({ level: 'fail', object: name, what: name, help: name })),
    changes: hostile.map((name, index) => ({
      kind: name,
      namespace: name,
      name,
      operation: 'updated',
      timeMs: takenMs - index,
      resources: 1,
      by: name,
      file: name,
      receivers: [{ name, refused: name }],
    })),
    incomplete: hostile,
  };
}
