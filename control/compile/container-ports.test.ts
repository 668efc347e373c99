import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { pickFields } from '../kinds/kinds.js';
import { readObject } from '../source/validate.js';
import { compile } from './compile.js';
import { kubeletPorts, targetPortOf } from './container-ports.js';
import type { PodObject, ServiceObject } from '../objects/objects.js';

/** As the API server gives it, through all that reads it. */
function podOf(spec: object, podIPs: readonly string[] = ['10.0.0.9']): PodObject {
  const raw = {
    metadata: { name: 'web', namespace: 'shop', uid: 'u' },
    spec: { nodeName: 'n1', ...spec },
    status: { podIPs: podIPs.map((ip) => ({ ip })) },
  };
  const { object, problem } = readObject(pickFields('Pod', raw) as PodObject);
  assert.equal(problem, undefined);
  return object as PodObject;
}
const exec = { exec: { command: ['true'] } };
const sidecar = {
  name: 'proxy',
  restartPolicy: 'Always',
  ports: [
    { name: 'http', containerPort: 15000 },
    { name: 'admin', containerPort: 9901 },
  ],
  startupProbe: { httpGet: { port: 'admin', path: '/ready' } },
  readinessProbe: { tcpSocket: { port: 9902 } },
  livenessProbe: { grpc: { port: 9903 } },
  lifecycle: {
    postStart: { httpGet: { port: 9904 } },
    preStop: { httpGet: { port: 'admin', path: '/drain' } },
  },
};
const setup = { name: 'setup', ports: [{ name: 'setup', containerPort: 7000 }] };
const app = {
  name: 'app',
  ports: [
    { name: 'http', containerPort: 8080 },
    { name: 'dns', containerPort: 53, protocol: 'UDP' },
  ],
  readinessProbe: { httpGet: { port: 'http' } },
  lifecycle: { postStart: exec, preStop: { httpGet: { port: 'http' } } },
};

test('the ports that a kubelet connects to: probes and HTTP hooks of containers and native sidecars', () => {
  assert.deepEqual(
    kubeletPorts(podOf({ containers: [app], initContainers: [setup, sidecar] })),
    [8080, 9901, 9902, 9903, 9904],
  );
});

test('an init container that ends opens nothing and names nothing', () => {
  const ended = { ...sidecar, restartPolicy: undefined };
  const pod = podOf({ containers: [app], initContainers: [ended, setup] });
  assert.deepEqual(kubeletPorts(pod), [8080]);
  assert.equal(targetPortOf(pod, { port: 80, targetPort: 'admin' }), 0);
});

test("the name of a Service's target port: an application's first, a sidecar's else, TCP alone", () => {
  const pod = podOf({ containers: [app], initContainers: [sidecar] });
  const targets = ['http', 'admin', 'dns', 'none', 81, undefined];
  assert.deepEqual(
    targets.map((targetPort) => targetPortOf(pod, { port: 80, ...(targetPort ? { targetPort } : {}) })),
    [8080, 9901, 0, 0, 81, 80],
  );
});

test("a port by name is the container's own: another container's port of that name is not opened", () => {
  const other = { name: 'other', readinessProbe: { httpGet: { port: 'http' } } };
  const named = { name: 'named', ports: [{ name: 'http', containerPort: 8081 }] };
  assert.deepEqual(kubeletPorts(podOf({ containers: [named, other] })), []);
  assert.deepEqual(kubeletPorts(podOf({ containers: [{ ...other, ports: named.ports }] })), [8081]);
  assert.deepEqual(
    kubeletPorts(podOf({ containers: [{ name: 'a', livenessProbe: { httpGet: { port: '8082' } } }] })),
    [8082],
  );
});

test('a handler whose host is not the pod opens nothing, one that names the address of the pod does', () => {
  const probed = (host: string): object => ({
    containers: [
      {
        name: 'a',
        readinessProbe: { httpGet: { port: 8081, host } },
        livenessProbe: { tcpSocket: { port: 8082, host } },
        lifecycle: { preStop: { httpGet: { port: 8083, host } } },
      },
    ],
  });
  for (const host of ['127.0.0.1', '10.0.0.8', 'api.shop.svc'])
    assert.deepEqual(kubeletPorts(podOf(probed(host))), []);
  assert.deepEqual(kubeletPorts(podOf(probed('10.0.0.9'))), [8081, 8082, 8083]);
});

test('what the kubelet does not run by network opens nothing', () => {
  const hooks = { postStart: exec, preStop: { tcpSocket: { port: 8085 }, sleep: { seconds: 1 } } };
  assert.deepEqual(
    kubeletPorts(podOf({ containers: [{ name: 'a', lifecycle: hooks, livenessProbe: exec }] })),
    [],
  );
});

test('what nodes are told of a pod with a native sidecar: its ports for the kubelet, and the endpoint of a Service that names its port', () => {
  const pod = podOf({ containers: [app], initContainers: [setup, sidecar] });
  const labeled = {
    ...pod,
    metadata: { ...pod.metadata, labels: { app: 'web', 'weft.dev/mesh': 'enabled' } },
  };
  const service = pickFields('Service', {
    metadata: { name: 'web', namespace: 'shop' },
    spec: { selector: { app: 'web' }, clusterIP: '10.96.0.1', ports: [{ port: 81, targetPort: 'admin' }] },
  }) as ServiceObject;
  const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
  const resources = [...compile([labeled, service], settings).all()];
  const held = resources.find((one) => one.kind === 'nodePod')?.value;
  assert.deepEqual(held?.probePorts, [8080, 9901, 9902, 9903, 9904]);
  const workload = resources.find((one) => one.kind === 'workload')?.value;
  assert.deepEqual(
    [...(workload?.services.values() ?? [])].flat().map(({ targetPort }) => targetPort),
    [9901],
  );
});
