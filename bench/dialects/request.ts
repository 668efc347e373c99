/**
 * What a request by an Istio route costs, beside one by the same Gateway API route: both are compiled from objects by the control plane's code,
 * and run in the same proxy.
 */
import { compile } from '../../control/compile/compile.js';
import { parseManifests } from '../../control/source/parse.js';
import { WeftError } from '../../src/base/errors.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { Route } from '../../src/model/route.js';
import type { Port } from '../../src/model/address.js';
import { interleave } from '../harness/interleave.js';
import type { Sample } from '../harness/statistics.js';
import { writeWeftConfig, type PlainConfig } from '../waypoint/config.js';
import { closedLoop, closedTask, openConnections, type Path, type Target } from '../waypoint/measure.js';
import { configuredTarget, type PlainTargetOptions } from '../waypoint/plain-targets.js';
import { freePorts } from '../waypoint/scene.js';
import { here, service, serviceAddress, servicePort, workload } from '../waypoint/weft.js';

export const requestPath: Path = { name: 'request' };
export const requestConnections = 16;
/** A difference of 5 % wants more rounds than one of 20 %. */
const roundsFactor = 3;

/** Requests of bench/waypoint/load.lua: one of ten has the header, and half are of paths below `/item`. */
const gatewayRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: main, namespace: d }
spec:
  parentRefs: [{ group: '', kind: Service, name: main }]
  rules:
    - matches: [{ headers: [{ name: x-canary, value: 'yes' }] }]
      backendRefs: [{ name: b, port: 80 }]
    - matches: [{ path: { type: PathPrefix, value: /item } }]
      timeouts: { request: 20s }
      backendRefs: [{ name: a, port: 80, weight: 90 }, { name: b, port: 80, weight: 10 }]
    - backendRefs: [{ name: a, port: 80, weight: 90 }, { name: b, port: 80, weight: 10 }]
`;
const istioRoute = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: main, namespace: d }
spec:
  hosts: [main]
  http:
    - match: [{ headers: { x-canary: { exact: 'yes' } } }]
      route: [{ destination: { host: b, port: { number: 80 } } }]
    - match: [{ uri: { prefix: /item } }]
      timeout: 20s
      route:
        - { destination: { host: a, port: { number: 80 } }, weight: 90 }
        - { destination: { host: b, port: { number: 80 } }, weight: 10 }
    - route:
        - { destination: { host: a, port: { number: 80 } }, weight: 90 }
        - { destination: { host: b, port: { number: 80 } }, weight: 10 }
`;
const names = ['main', 'a', 'b'] as const;
const services = names.map(
  (name, at) => `
kind: Service
apiVersion: v1
metadata: { name: ${name}, namespace: d, labels: { weft.dev/waypoint: wp } }
spec: { selector: { app: ${name} }, clusterIP: 10.0.0.${at + 1}, ports: [{ name: http, port: 80, appProtocol: http }] }
`,
);
const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: d }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`;

/** The routes that the control plane makes of a manifest. */
function routesOf(manifest: string): Route[] {
  const { objects, errors } = parseManifests('bench', [gateway, ...services, manifest].join('---'));
  if (errors[0]) throw new WeftError('WEFT_START', `a route of the bench: ${errors[0].message}`);
  const compiler = compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' });
  const [problem] = compiler.problems().values();
  if (problem) throw new WeftError('WEFT_START', `a route of the bench: ${problem.message}`);
  const routes = [...compiler.all()].flatMap((one) => (one.kind === 'route' ? [one.value] : []));
  if (routes.length === 0) throw new WeftError('WEFT_START', 'a route of the bench was compiled to nothing');
  return routes;
}

/** The services of the objects above, as the proxy knows them. */
const inCluster = <T extends { readonly key: string }>(of: T, name: string): T => ({
  ...of,
  key: `d/${name}.d.svc.cluster.local`,
  namespace: 'd',
});

function configOf(listen: number, endpoints: readonly number[], manifest: string): string {
  const [a = 0, b = 0] = endpoints;
  const ports = { main: a, a, b };
  const made = names.map((name, at) =>
    inCluster(service(name, at === 0 ? serviceAddress.ip : `10.0.0.${at + 1}`, ports[name], 'http1'), name),
  );
  const [main] = made;
  if (!main) throw new WeftError('WEFT_START', 'the bench has no Service');
  const config: PlainConfig = {
    listen: { ip: here, port: listen as Port },
    service: main.key,
    servicePort,
    mesh: {
      workloads: (['a', 'b'] as const).map((name) => {
        const one = workload(name, ports[name], 'http1');
        const [mapping = []] = one.services.values();
        const found = made.find((of) => of.name === name);
        return { ...one, services: new Map(found ? [[found.key, mapping]] : []) };
      }),
      services: made,
    },
    routes: routesOf(manifest),
  };
  return writeWeftConfig(config);
}

export interface RequestBench extends PlainTargetOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly endpoints: readonly number[];
  readonly onProgress: (text: string) => void;
}

/** Samples of `gateway`, `istio`, and `again`: a second process with the Gateway API route, whose difference to the first is the noise. */
export async function measureRequest(bench: RequestBench): Promise<Sample[]> {
  const variants = [
    ['gateway', gatewayRoute],
    ['again', gatewayRoute],
    ['istio', istioRoute],
  ] as const;
  const targets: Target[] = [];
  for (const [name, manifest] of variants) {
    const [listen = 0] = await freePorts(1);
    const target = configuredTarget(bench, name, 'weft', listen, configOf(listen, bench.endpoints, manifest));
    const pid = await target.start?.();
    targets.push({ ...target, pid });
  }
  for (const target of targets) {
    bench.onProgress(`warming up ${target.name}`);
    await closedLoop(target, openConnections, 2 * bench.seconds);
  }
  const samples = await interleave<Path, Target>({
    rounds: roundsFactor * bench.rounds,
    paths: [requestPath],
    variants: targets,
    tasks: [closedTask(requestConnections, bench.seconds)],
    onProgress: bench.onProgress,
  });
  for (const { pid } of targets) if (pid !== undefined) await bench.servers.end(pid);
  return samples;
}
