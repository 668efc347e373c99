/**
 * How much memory the control plane's edges take: `node --expose-gc dist/bench/edges/memory.js [EDGES]`. The worst case is that each edge
 * has requests in each of the slots; the names are as long as those of a real cluster.
 */
import { decodeEdge, encodeEdge } from '../../src/discovery/codec/edge.js';
import { EdgeReport } from '../../src/discovery/gen/weft.js';
import { latencyBoundsMs, noCounts, type Edge } from '../../src/model/edge.js';
import { spiffeIdOf, parseTrustDomain } from '../../src/model/identity.js';
import { EdgeStore } from '../../control/edges/edge-store.js';

const edges = Number(process.argv[2] ?? 10_000);
const slotMs = 30_000;
const rounds = 31;
const trustDomain = parseTrustDomain('cluster.local');

const party = (name: string): Edge['source'] => ({
  namespace: 'production-shop',
  workload: name,
  pod: `${name}-7d9c6b5f4d-x2x9k`,
  identity: spiffeIdOf({ trustDomain, namespace: 'production-shop', serviceAccount: name }),
});

const edgeAt = (i: number, hasRequests: boolean): Edge => ({
  reporter: hasRequests ? 'waypoint' : 'source',
  source: party(`frontend-${i % 200}`),
  destination: party(`payment-service-${Math.floor(i / 200)}`),
  service: `payment-service-${Math.floor(i / 200)}.production-shop.svc.cluster.local`,
  port: 8080,
  path: hasRequests ? 'waypoint' : 'hbone',
  method: hasRequests ? 'GET' : '',
  pathTemplate: hasRequests ? '/api/v1/orders/*/items' : '',
  policy: '',
  counts: {
    ...noCounts,
    connections: 1,
    requests: hasRequests ? 100 : 0,
    bytesSent: 5e9,
    latencyCounts: hasRequests ? latencyBoundsMs.map(() => 5).concat(1) : [],
  },
});

/** As from the wire: each report has texts of its own. */
function received(i: number, hasRequests: boolean): Edge {
  const message = {
    program: 'p',
    number: 1,
    fromMs: 0,
    toMs: 0,
    edges: [encodeEdge(edgeAt(i, hasRequests))],
  };
  const [one] = EdgeReport.decode(EdgeReport.encode(message).finish()).edges;
  const decoded = one && decodeEdge(one);
  if (!decoded) throw new Error('an edge was not decoded');
  return decoded;
}

const used = (): number => {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
};

function measure(hasRequests: boolean): void {
  let nowMs = 1_000_000_000;
  let limited = 0;
  const before = used();
  // The shares of namespaces would keep one namespace from filling the memory.
  const store = new EdgeStore(
    () => limited++,
    () => nowMs,
    3 * edges,
  );
  const began = process.cpuUsage();
  for (let round = 0; round < rounds; round++, nowMs += slotMs)
    for (let i = 0; i < edges; i++)
      store.add(received(i, hasRequests), `node-${i % 50}`, 'production-shop', 0);
  const added = process.cpuUsage(began);
  const after = used();
  const asked = process.cpuUsage();
  const answer = store.query({ sinceMs: 0 });
  const queried = process.cpuUsage(asked);
  console.log(
    JSON.stringify({
      edges: store.size,
      limited,
      kind: hasRequests ? 'requests in every slot' : 'connections in every slot',
      mib: Math.round(((after - before) / 2 ** 20) * 10) / 10,
      cpuUsPerEdge: Math.round((added.user + added.system) / (rounds * edges)),
      queryCpuMs: Math.round((queried.user + queried.system) / 1_000),
      answered: answer.edges.length,
    }),
  );
}

measure(false);
measure(true);
