/**
 * A program: compares policies before and after for observed edges, as `weft policy diff` does, and writes what it took as JSON. Half of the
 * edges are requests that waypoints read. Usage: node dist/bench/policy/diff.js [POLICIES] [EDGES] [NAMESPACES]
 */
import { performance } from 'node:perf_hooks';
import { policyMeshes } from '../../control/policy-mesh/policy-mesh.js';
import { callsOf } from '../../src/cli/policy/calls.js';
import { policyDiff } from '../../src/cli/policy/diff.js';
import { EdgeLines } from '../../src/cli/policy/edge-file.js';
import { PolicyMesh } from '../../src/cli/policy/policy-mesh.js';

const [policies = 1_000, edges = 100_000, namespaces = 50] = process.argv.slice(2).map(Number);
const workloads = 20;
const accounts = 40;

function mesh(): string {
  const parts: string[] = [];
  for (let n = 0; n < namespaces; n++) {
    parts.push(
      `apiVersion: v1\nkind: Namespace\nmetadata: { name: ns-${n}, labels: { weft.dev/mesh: enabled } }`,
      `apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: wp, namespace: ns-${n} }\nspec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }`,
    );
    for (let i = 0; i < workloads; i++)
      parts.push(
        `apiVersion: v1\nkind: Pod\nmetadata: { name: app-${i}-0, namespace: ns-${n}, labels: { app: app-${i} } }\nspec: { nodeName: a, serviceAccountName: app-${i} }\nstatus: { podIPs: [{ ip: 10.${n}.${i}.1 }] }`,
        `apiVersion: v1\nkind: Service\nmetadata: { name: app-${i}, namespace: ns-${n}, labels: { weft.dev/waypoint: wp } }\nspec: { clusterIP: 10.${100 + n}.0.${i + 1}, selector: { app: app-${i} }, ports: [{ port: 80, targetPort: 8080 }] }`,
      );
  }
  return parts.join('\n---\n');
}

/** One policy for each workload, and beyond these further ones for the same workloads. */
function applied(): string {
  return Array.from({ length: policies }, (_, at) => {
    const [n, i] = [at % namespaces, Math.floor(at / namespaces) % workloads];
    const clients = Array.from(
      { length: 10 },
      (_one, k) => `ns-${(n + k) % namespaces}/app-${(at + k) % accounts}`,
    );
    return `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p-${at}, namespace: ns-${n} }\nspec:\n  action: ALLOW\n  selector: { matchLabels: { app: app-${i} } }\n  rules: [{ from: [{ serviceAccounts: [${clients.join(', ')}] }], to: [{ ports: [8080], methods: [GET, POST], paths: ['/orders/{*}', '/health', '/v1*'] }, { ports: [6379] }] }]`;
  }).join('\n---\n');
}

function* lines(): Generator<string> {
  for (let at = 0; at < edges; at++) {
    const isRequest = at % 2 === 0;
    const [n, i] = [at % namespaces, Math.floor(at / namespaces) % workloads];
    const [from, account] = [(at * 7) % namespaces, (at * 31) % accounts];
    yield JSON.stringify({
      reporter: isRequest ? 'waypoint' : 'destination',
      source: {
        namespace: `ns-${from}`,
        workload: `app-${account}`,
        pod: `app-${account}-${at % 97}`,
        identity: `spiffe://cluster.local/ns/ns-${from}/sa/app-${account}`,
      },
      destination: { namespace: `ns-${n}`, workload: `app-${i}`, pod: `app-${i}-0`, identity: null },
      service: isRequest ? `app-${i}.ns-${n}.svc.cluster.local` : '',
      port: isRequest ? 8080 : 6379,
      path: isRequest ? 'waypoint' : 'kernel',
      method: isRequest ? ['GET', 'POST', 'PUT'][at % 3] : '',
      pathTemplate: isRequest ? `/${['orders', 'users', 'v1'][(at >> 4) % 3]}/*/part-${(at >> 6) % 400}` : '',
      policy: '',
      counts: {
        connections: isRequest ? 0 : 3,
        refused: 0,
        audited: 0,
        bytesSent: 0,
        bytesReceived: 0,
        requests: isRequest ? 5 : 0,
        failures: 0,
        latencyCounts: [],
        lastSeenMs: 1_700_000_000_000 + at,
      },
    });
  }
}

const text = [...lines()];
const [current, added] = [mesh(), applied()];
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const beganMs = performance.now();
const cpus = [cpuMs()];
const read = new EdgeLines('edges');
for (const line of text) read.add(line);
const readMs = performance.now();
cpus.push(cpuMs());
const meshes = policyMeshes(
  [{ file: 'mesh.yaml', text: current }],
  [{ file: 'policies.yaml', text: added }],
  'weft-system',
);
if (meshes.errors.length > 0) throw new Error(meshes.errors[0]);
const compiledMs = performance.now();
cpus.push(cpuMs());
const calls = callsOf(read.edges);
const addedUpMs = performance.now();
cpus.push(cpuMs());
const { changes, unknown, unchanged } = policyDiff(
  calls,
  new PolicyMesh(meshes.before),
  new PolicyMesh(meshes.after),
);
const doneMs = performance.now();
cpus.push(cpuMs());
console.log(
  JSON.stringify({
    policies,
    edges,
    calls: calls.length,
    changes: changes.length,
    unknown: unknown.length,
    unchanged,
    readMs: Math.round(readMs - beganMs),
    compileMs: Math.round(compiledMs - readMs),
    callsMs: Math.round(addedUpMs - compiledMs),
    diffMs: Math.round(doneMs - addedUpMs),
    totalMs: Math.round(doneMs - beganMs),
    // Of all threads, the garbage collector's too: it does not depend on what else the machine does.
    cpuMs: Math.round((cpus.at(-1) ?? NaN) - (cpus[0] ?? NaN)),
    cpuOfStepsMs: cpus.slice(1).map((one, i) => Math.round(one - (cpus[i] ?? NaN))),
    residentMiB: Math.round(process.memoryUsage().rss / 2 ** 20),
  }),
);
