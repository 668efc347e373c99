/**
 * A shop of four services, in Istio's own YAML: VirtualServices and DestinationRules are applied one after the other while clients call all
 * services. No request fails, each change is in force in the end, and the statuses of all objects say so.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { load } from '../../src/cli/demo/stage.js';
import { run } from '../../src/cli/run.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('istio-shop');
const waypoint: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b' };
const services = ['front', 'cart', 'payment', 'shipping'] as const;
type Name = (typeof services)[number];
const versions = ['v1', 'v2'] as const;
const vipOf = (name: Name): string => `10.96.0.${100 + services.indexOf(name)}`;

/** A Service with a pod of each version, on both nodes. */
const manifestOf = (name: Name): string =>
  [
    `apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec: { selector: { app: ${name} }, clusterIP: ${vipOf(name)}, ports: [{ name: http, port: 80, targetPort: 8080 }] }
`,
    ...versions.map(
      (version, at) => `apiVersion: v1
kind: Pod
metadata:
  name: ${name}-${version}
  namespace: shop
  labels: { app: ${name}, version: ${version} }
  annotations: { weft.dev/netns: weft-${name}-${version} }
spec: { nodeName: node-${at === 0 ? 'a' : 'b'}, serviceAccountName: ${name} }
status: { podIPs: [{ ip: 10.244.${at + 1}.${100 + services.indexOf(name)} }] }
`,
    ),
  ].join('---\n');

const virtualService = (name: Name, rules: string): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, namespace: shop }
spec:
  hosts: [${name}]
  http:
${rules.replace(/^/gm, '    ')}
`;
const destinationRule = (name: Name, policy: string): string => `apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: { name: ${name}, namespace: shop }
spec:
  host: ${name}.shop.svc.cluster.local
  trafficPolicy: ${policy}
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
`;
const to = (name: Name, weights: Readonly<Partial<Record<'v1' | 'v2', number>>>): string =>
  `[${Object.entries(weights)
    .map(([subset, weight]) => `{ destination: { host: ${name}, subset: ${subset} }, weight: ${weight} }`)
    .join(', ')}]`;

interface Change {
  readonly file: string;
  readonly text: string;
  /** What shows that it is in force: a request, and what its response must contain. */
  readonly shown?: { readonly service: Name; readonly args: readonly string[]; readonly response: RegExp };
}
const at = (service: Name, args: readonly string[], response: RegExp): NonNullable<Change['shown']> => ({
  service,
  args,
  response,
});
const pool =
  '{ connectionPool: { tcp: { maxConnections: 500 }, http: { http1MaxPendingRequests: 500 } }, outlierDetection: { consecutive5xxErrors: 5, interval: 30s, baseEjectionTime: 30s } }';
const changes: readonly Change[] = [
  { file: 'dr-front.yaml', text: destinationRule('front', '{ loadBalancer: { simple: ROUND_ROBIN } }') },
  {
    file: 'vs-front.yaml',
    text: virtualService('front', `- route: ${to('front', { v1: 100 })}`),
    shown: at('front', ['/'], /front-v1/),
  },
  { file: 'dr-cart.yaml', text: destinationRule('cart', pool) },
  {
    file: 'vs-cart.yaml',
    text: virtualService(
      'cart',
      `- match: [{ headers: { x-user-type: { exact: beta-tester } } }]
  route: ${to('cart', { v2: 100 })}
- route: ${to('cart', { v1: 90, v2: 10 })}`,
    ),
    shown: at('cart', ['-H', 'x-user-type: beta-tester', '/'], /cart-v2/),
  },
  { file: 'dr-payment.yaml', text: destinationRule('payment', pool) },
  {
    file: 'vs-payment.yaml',
    text: virtualService(
      'payment',
      `- match: [{ uri: { prefix: /pay } }]
  rewrite: { uri: /v2/pay }
  timeout: 5s
  retries: { attempts: 2, perTryTimeout: 2s, retryOn: 'connect-failure,reset' }
  route: ${to('payment', { v2: 100 })}
- route: ${to('payment', { v1: 100 })}`,
    ),
    shown: at('payment', ['/pay/now'], /"path":"\/v2\/pay\/now"/),
  },
  {
    file: 'dr-shipping.yaml',
    text: destinationRule(
      'shipping',
      '{ loadBalancer: { consistentHash: { httpHeaderName: x-order } }, portLevelSettings: [{ port: { number: 80 }, connectionPool: { http: { maxRequestsPerConnection: 100 } } }] }',
    ),
  },
  {
    file: 'vs-shipping.yaml',
    text: virtualService(
      'shipping',
      `- match: [{ uri: { exact: /old } }]
  redirect: { uri: /new, redirectCode: 308 }
- match: [{ method: { exact: DELETE } }]
  directResponse: { status: 405, body: { string: 'no' } }
- route: ${to('shipping', { v1: 50, v2: 50 })}
  headers: { request: { set: { x-shop: 'yes' } } }`,
    ),
    shown: at('shipping', ['/'], /"x-shop":"yes"/),
  },
  {
    file: 'vs-front.yaml',
    text: virtualService('front', `- route: ${to('front', { v1: 50, v2: 50 })}`),
  },
  {
    file: 'vs-front.yaml',
    text: virtualService('front', `- route: ${to('front', { v2: 100 })}`),
    shown: at('front', ['/'], /front-v2/),
  },
  {
    file: 'dr-cart.yaml',
    text: destinationRule('cart', '{ loadBalancer: { simple: LEAST_REQUEST, warmup: { duration: 10s } } }'),
  },
  {
    file: 'vs-cart.yaml',
    text: virtualService('cart', `- mirror: { host: front }\n  route: ${to('cart', { v1: 100 })}`),
    shown: at('cart', ['-H', 'x-user-type: beta-tester', '/'], /cart-v1/),
  },
];
assert.ok(changes.length >= 12);

let testbed: Testbed;
const ask = async (service: Name, args: readonly string[]): Promise<string> => {
  const path = args.at(-1) ?? '/';
  const flags = ['-sS', '-m', '10', '--noproxy', '*', ...args.slice(0, -1)];
  const { stdout } = await run('weft-web', 'curl', [...flags, `http://${vipOf(service)}${path}`]);
  return stdout;
};

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  mesh.write('shop.yaml', services.map(manifestOf).join('---\n'));
  testbed = mesh.create();
  const echo = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  for (const name of services)
    for (const version of versions) {
      const pod = `${name}-${version}`;
      testbed.start(pod, `weft-${pod}`, process.execPath, [echo, pod, '8080']);
    }
  await testbed.up();
  await startWaypoint(testbed, waypoint);
  for (const name of services)
    await until(`${name} responds`, 30_000, async () => (await ask(name, ['/'])).includes(name));
});
after(() => mesh.remove());

test('a dozen VirtualServices and DestinationRules are applied one after the other under load, and no request fails', async () => {
  const loads = services.map((name) => load(`http://${vipOf(name)}/`, 4));
  for (const { file, text, shown } of changes) {
    mesh.write(file, text);
    if (shown)
      await until(`${file} is in force: ${text}`, 30_000, async () =>
        shown.response.test(await ask(shown.service, shown.args)),
      );
  }
  for (const [index, one] of loads.entries()) {
    await until('there was load', 30_000, () => Promise.resolve(one.answered() > 50));
    const { answered, failures } = await one.stop();
    assert.deepEqual(failures, {}, `${services[index]}: of ${answered} requests`);
    assert.ok(answered > 50, `${services[index]}: ${answered} responses`);
  }
  assert.match(await ask('shipping', ['-i', '/old']), /^HTTP\/1.1 308 [^]*location: [^\r\n]*\/new/i);
  assert.match(await ask('shipping', ['-i', '-X', 'DELETE', '/']), /^HTTP\/1.1 405 [^]*no$/);
});
