/** A testbed with the Services `echo`, `echo-v1` and `echo-v2` behind a waypoint, for tests of routes through real tunnels. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import { DemoMesh } from './demo-mesh.js';

const demo = join(projectRoot, 'dist', 'src', 'cli', 'demo');

export const vips = {
  echo: '10.96.0.20',
  'echo-v1': '10.96.0.21',
  'echo-v2': '10.96.0.22',
  ports: '10.96.0.30',
};
type ServiceName = keyof typeof vips;

interface Response {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly pod: string | undefined;
  readonly seen: { readonly path: string; readonly headers: Record<string, string> } | undefined;
}

export interface Ask {
  readonly from?: string;
  readonly service?: ServiceName;
  readonly port?: number;
  readonly url?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends one request with curl from the pod `from`. */
export async function ask(
  path: string,
  { from = 'weft-web', service = 'echo', port = 80, ...rest }: Ask = {},
): Promise<Response> {
  const url = rest.url ?? `http://${vips[service]}:${port}${path}`;
  const headers = Object.entries({ host: service, ...rest.headers }).flatMap(([k, v]) => [
    '-H',
    `${k}: ${v}`,
  ]);
  const args = [
    '-sSi',
    '-m',
    '6',
    '--noproxy',
    '*',
    '--path-as-is',
    '-X',
    rest.method ?? 'GET',
    ...headers,
    url,
  ];
  const { stdout } = await run(from, 'curl', args);
  const [head = '', body = ''] = stdout.split('\r\n\r\n');
  const [line = '', ...lines] = head.split('\r\n');
  const seen = body.startsWith('{') ? (JSON.parse(body) as Response['seen'] & { pod: string }) : undefined;
  return {
    status: Number(line.split(' ')[1] ?? 0),
    headers: Object.fromEntries(
      lines.map((one) => [
        one.slice(0, one.indexOf(':')).toLowerCase(),
        one.slice(one.indexOf(':') + 1).trim(),
      ]),
    ),
    pod: seen?.pod,
    seen,
  };
}

/** An HTTPRoute of `echo`. Each has a marker rule that shows that the route is in force, as its other effects may be coincidental. */
export const httpRoute = (
  name: string,
  rules: string,
  more: { service?: string; namespace?: string; port?: number } = {},
): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: ${name}, namespace: ${more.namespace ?? 'shop'} }
spec:
  parentRefs: [{ group: '', kind: Service, name: ${more.service ?? 'echo'}, namespace: shop${more.port ? `, port: ${more.port}` : ''} }]
  rules:
${rules.replace(/^\n/, '')}
    - matches: [{ path: { type: Exact, value: /in-force/${name} } }]
      filters: [{ type: RequestRedirect, requestRedirect: { hostname: in.force } }]
`;
/** Whether an {@link httpRoute} is in force. */
export const inForce =
  (name: string, asked: Ask = {}) =>
  async (): Promise<boolean> =>
    (await ask(`/in-force/${name}`, asked)).status === 302;
export interface Calls {
  readonly unary: { readonly answer?: string; readonly code: number; readonly by: string };
  readonly stream: {
    readonly answers: readonly string[];
    readonly code: number;
    readonly by: string;
    readonly seen: string;
  };
  readonly counts: Readonly<Record<string, number>>;
}
/** Makes `calls` calls of demo.Echo/Say and opens one stream of demo.Echo/Chat. */
export async function grpc(calls = 1): Promise<Calls> {
  const args = [join(demo, 'grpc.js'), `${vips.echo}:7070`, String(calls)];
  return JSON.parse((await run('weft-web', process.execPath, args, 15_000)).stdout) as Calls;
}

export class RouteMesh {
  readonly #mesh: DemoMesh;
  #routes = 0;

  #testbed: Testbed | undefined;

  /** @param workers of the waypoint */
  constructor(
    name: string,
    private readonly workers = 1,
  ) {
    this.#mesh = new DemoMesh(name);
  }

  get testbed(): Testbed {
    if (!this.#testbed) throw new Error('the testbed is not up');
    return this.#testbed;
  }

  get waypoint(): WaypointReplica {
    return { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: this.workers };
  }

  startApplication(version: 'v1' | 'v2'): void {
    this.testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [
      join(demo, 'echo.js'),
      `echo-${version}`,
      '8080',
    ]);
  }

  async up(): Promise<void> {
    await this.#mesh.prepare();
    this.#mesh.gateway();
    this.#mesh.write(
      'more.yaml',
      `kind: Namespace
metadata: { name: other, labels: { weft.dev/mesh: enabled } }
---
kind: Pod
metadata: { name: visitor, namespace: other, annotations: { weft.dev/netns: weft-visitor } }
spec: { nodeName: node-a, serviceAccountName: visitor }
status: { podIPs: [{ ip: 10.244.1.30 }, { ip: 'fd00:244:1::30' }] }
---
kind: Service
metadata: { name: ports, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec:
  selector: { app: echo }
  clusterIPs: [10.96.0.30]
  ports: [{ name: http, port: 80, targetPort: 8080 }, { name: http-alt, port: 8081, targetPort: 8080 }]
`,
    );
    const testbed = (this.#testbed = this.#mesh.create());
    this.startApplication('v1');
    this.startApplication('v2');
    await testbed.up();
    await startWaypoint(testbed, this.waypoint);
    await until('echo responds', 30_000, async () => (await ask('/')).status === 200);
  }

  down(): Promise<void> {
    return this.#mesh.remove();
  }

  /** Writes one route file, runs `check` once `ready` holds, and deletes the file. */
  async withRoute(yaml: string, ready: () => Promise<unknown>, check: () => Promise<void>): Promise<void> {
    const file = `route-${++this.#routes}.yaml`;
    this.#mesh.write(file, yaml);
    try {
      await until('the route is in force', 30_000, ready);
      await check();
    } finally {
      rmSync(join(this.#mesh.manifests, file));
      // A Service without routes behaves as if its requests were not read. Each test begins in that state.
      await until('it is gone', 30_000, async () => (await ask('/plain-again')).status === 200);
    }
  }

  /** Changes the file that `withRoute` wrote. */
  rewrite(yaml: string): void {
    this.#mesh.write(`route-${this.#routes}.yaml`, yaml);
  }
}
