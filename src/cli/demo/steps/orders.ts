/** The Service `orders` of the steps about traffic policies: three endpoints, which count what they receive. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../../base/wait.js';
import { adminGet, adminPort } from '../../admin.js';
import { run } from '../../run.js';
import { waypointNetns, type WaypointReplica } from '../../standalone/waypoint.js';
import { here, type Stage } from '../stage.js';
import { ask, place, requests } from './waypoint-client.js';

export const ordersVip = '10.96.0.40';
/** Endpoints by name, with the network namespaces of their pods. */
const endpoints = {
  'orders-1': 'weft-echo-v1',
  'orders-2': 'weft-echo-v2',
  'orders-3': 'weft-cache-2',
} as const;
export type OrdersName = keyof typeof endpoints;
const names = Object.keys(endpoints) as OrdersName[];
const port = '9090';
const service = `apiVersion: v1
kind: Service
metadata: { name: orders, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec:
  selector: { orders: 'yes' }
  clusterIPs: [${ordersVip}]
  ports: [{ name: http, port: 80, targetPort: ${port} }]
`;
const pods: readonly (readonly [file: string, name: OrdersName, labels: string])[] = [
  ['echo.yaml', 'orders-1', 'labels: { app: echo, version: v1'],
  ['echo.yaml', 'orders-2', 'labels: { app: echo, version: v2'],
  ['mesh.yaml', 'orders-3', 'name: cache-2, namespace: shop, labels: { app: cache'],
];

/** Adds the endpoints' pods to the Service, or takes one out, by their labels. */
export function setEndpoints(stage: Stage, wanted: readonly OrdersName[]): void {
  for (const file of ['echo.yaml', 'mesh.yaml']) {
    const before = readFileSync(join(stage.manifests, file), 'utf8');
    let text = before.replaceAll(", orders: 'yes' }", ' }');
    for (const [where, name, labels] of pods)
      if (where === file && wanted.includes(name)) {
        assert.ok(text.includes(`${labels} }`), `${file} has the pod of ${name}`);
        text = text.replace(`${labels} }`, `${labels}, orders: 'yes' }`);
      }
    if (text !== before) stage.write(file, text);
  }
}

/** Starts the applications and waits until all of them respond through the waypoint. */
export async function startOrders(stage: Stage): Promise<void> {
  for (const name of names)
    stage.testbed.start(name, endpoints[name], process.execPath, [join(here, 'echo.js'), name, port]);
  stage.write('orders.yaml', service);
  setEndpoints(stage, names);
  // A burst whose connections fail takes curl ten seconds.
  await until('orders responds', 20_000, async () => {
    const { status } = await ask('weft-web', `http://${ordersVip}/ready`, '--connect-timeout', '0.5');
    return status === 200;
  });
  await until('all endpoints of orders respond', 20_000, async () => {
    const { by } = await burst('weft-web', '/ready', 12, 4);
    return names.every((name) => (by[name] ?? 0) > 0);
  });
}

export async function stopOrders(stage: Stage): Promise<void> {
  stage.remove('orders.yaml');
  setEndpoints(stage, []);
  for (const name of names) await stage.testbed.stop(name);
}

/** Requests that each endpoint has received for a path. */
export async function seenAt(path: string): Promise<Record<OrdersName, number>> {
  const counts = await Promise.all(
    names.map(async (name) => {
      const { body } = await ask(endpoints[name], `http://127.0.0.1:${port}/seen`);
      return [name, (JSON.parse(body) as Record<string, number>)[path] ?? 0] as const;
    }),
  );
  return Object.fromEntries(counts) as Record<OrdersName, number>;
}
export const total = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

export interface Burst {
  /** Responses by status; 0: the connection failed. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Responses by the application that gave them. */
  readonly by: Readonly<Record<string, number>>;
}

/** Sends `count` requests to `orders`, at most `parallel` at a time. */
export async function burst(
  netns: string,
  path: string,
  count: number,
  parallel: number,
  ...more: readonly string[]
): Promise<Burst> {
  const format = '%{http_code} %header{x-served-by}\n';
  // An empty `-o` would write the bodies between the lines.
  const { stdout } = await run(
    netns,
    'curl',
    [
      ...[
        '-sS',
        '-m',
        '30',
        '--noproxy',
        '*',
        '-Z',
        '--parallel-immediate',
        '--parallel-max',
        String(parallel),
      ],
      ...['-o', '/dev/null', '-w', format, ...more],
      `http://${ordersVip}${path}?[1-${count}]`,
    ],
    90_000,
  );
  const statuses: Record<string, number> = {};
  const by: Record<string, number> = {};
  for (const [, status = '', name = ''] of stdout.matchAll(/^(\d+) (.*)$/gm)) {
    const key = String(Number(status));
    statuses[key] = (statuses[key] ?? 0) + 1;
    if (name !== '') by[name] = (by[name] ?? 0) + 1;
  }
  assert.equal(total(statuses), count, 'each request has an outcome');
  return { statuses, by };
}

/** The application that responds to each value of a header, of requests on one connection. */
export async function servedBy(header: string, values: readonly string[]): Promise<string[]> {
  const args = values.flatMap((value) => [
    ...['--next', '-sS', '-m', '6', '--noproxy', '*', '-H', `${header}: ${value}`],
    `http://${ordersVip}/cart`,
  ]);
  const { stdout } = await run('weft-web', 'curl', args.slice(1), 90_000);
  const found = [...stdout.matchAll(/"pod":"([^"]*)"/g)].map(([, name = '']) => name);
  assert.equal(found.length, values.length, 'each request has a response');
  return found;
}

/** Writes a TrafficPolicy for `orders` and waits until the waypoint has it. `spec`: the sections. Returns the policy's name in logs. */
export async function applyPolicy(
  stage: Stage,
  name: string,
  spec: string,
  replicas: readonly WaypointReplica[] = [place],
): Promise<string> {
  stage.write(
    `traffic-${name}.yaml`,
    `apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: orders }]
${spec.replace(/^\n/, '')}`,
  );
  const full = `TrafficPolicy shop/${name}`;
  await untilKnown(replicas, full, true);
  return full;
}

export async function removePolicy(
  stage: Stage,
  name: string,
  replicas: readonly WaypointReplica[] = [place],
): Promise<void> {
  stage.remove(`traffic-${name}.yaml`);
  await untilKnown(replicas, `TrafficPolicy shop/${name}`, false);
}

const untilKnown = (replicas: readonly WaypointReplica[], full: string, known: boolean): Promise<unknown> =>
  until(`the waypoint ${known ? 'has' : 'forgets'} ${full}`, 30_000, async () => {
    for (const replica of replicas) {
      const dump = JSON.parse(await adminGet(waypointNetns(replica), adminPort, '/dump')) as {
        servicePolicies: unknown;
      };
      if (JSON.stringify(dump.servicePolicies).includes(full) !== known) return false;
    }
    return true;
  });

/** Lines of the access log in which a policy acted. */
export const actedOn = (stage: Stage, policy: string, replica = place): Record<string, unknown>[] =>
  requests(stage, replica).filter(({ actions }) =>
    (Array.isArray(actions) ? actions : []).some((one) => String(one).includes(policy)),
  );

/** The sum of a metric of the waypoint over its lines that have all of these labels. */
export async function metric(
  name: string,
  labels: Readonly<Record<string, string>> = {},
  replica = place,
): Promise<number> {
  const text = await adminGet(waypointNetns(replica), 15020, '/metrics');
  return text
    .split('\n')
    .filter((line) => new RegExp(`^${name}[{ ]`).test(line))
    .filter((line) => Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
