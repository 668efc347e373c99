/**
 * A program: ten VirtualServices of one namespace, of 2 MB each, name a Service of another namespace, whose port is changed. Writes how long the
 * change keeps the control plane from everything else, as JSON.
 */
import { performance } from 'node:perf_hooks';
import { objectKey } from '../../control/objects/object-key.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { Publisher } from '../../control/publisher.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { sleep, until } from '../../src/base/wait.js';
import { accepted } from './objects.js';

const [count = 0, rules = 0, changes = 0] = process.argv.slice(2).map(Number);
const ignored = (): void => undefined;

const service = (namespace: string, name: string, port: number): MeshObject =>
  accepted({
    kind: 'Service',
    metadata: { name, namespace },
    spec: {
      selector: { app: name },
      clusterIP: '10.96.0.1',
      ports: [{ name: 'http', port, targetPort: 8080, appProtocol: 'http' }],
    },
  });
const large = (name: string): MeshObject =>
  accepted({
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { name, namespace: 'tenant' },
    spec: {
      hosts: [name],
      http: Array.from({ length: rules }, (_, i) => ({
        match: [{ uri: { exact: `/path/to/${i}` }, headers: { 'x-header': { exact: `value-${i}` } } }],
        route: [{ destination: { host: 'api.bank.svc.cluster.local', port: { number: 80 } } }],
      })),
    },
  });

const publisher = new Publisher({
  settings: { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' },
  onCompiled: ignored,
  onUpdate: ignored,
  onLimit: ignored,
  log: { info: ignored, warn: ignored, error: ignored },
});
const apply = (...objects: readonly MeshObject[]): void =>
  publisher.apply(new Map(objects.map((object) => [objectKey(object), object])));
const names = Array.from({ length: count }, (_, i) => `large-${i}`);
apply(service('bank', 'api', 80), ...names.map((name) => service('tenant', name, 80)), ...names.map(large));

let busyMs = 0;
let lastMs = performance.now();
const tick = setInterval(() => {
  const nowMs = performance.now();
  busyMs = Math.max(busyMs, nowMs - lastMs);
  lastMs = nowMs;
}, 1);
let changeMs = 0;
let allMs = 0;
for (let i = 0; i < changes; i++) {
  const changed = service('bank', 'api', 81 - (i % 2));
  const fromMs = performance.now();
  apply(changed);
  changeMs = Math.max(changeMs, performance.now() - fromMs);
  await until('everything is compiled', 120_000, () => publisher.compiler.waiting === 0);
  allMs = Math.max(allMs, performance.now() - fromMs);
  await sleep(50);
}
clearInterval(tick);
console.log(JSON.stringify({ largeChangeMs: changeMs, largeBusyMs: busyMs, largeAllMs: allMs }));
