import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { pickFields } from '../kinds/kinds.js';
import { readObject } from '../source/validate.js';
import { compile } from './compile.js';
import { kubeletPorts, targetPortOf } from './container-ports.js';
import type { PodObject, ServiceObject } from '../objects/objects.js';

/** The pod as the API server sends it, after validation and field picking. */
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

test('a kubelet connects to probes and HTTP hooks of containers and native sidecars', () => {
  assert.deepEqual(
    kubeletPorts(podOf({ containers: [app], initContainers: [setup, sidecar] })),
    [8080, 9901, 9902, 9903, 9904],
  );
});

test('an init container that ends opens no port, and its port names do not count', () => {
  const ended = { ...sidecar, restartPolicy: undefined };
  const pod = podOf({ containers: [app], initContainers: [ended, setup] });
  assert.deepEqual(kubeletPorts(pod), [8080]);
  assert.equal(targetPortOf(pod, { port: 80, targetPort: 'admin' }), 0);
});

test('a named target port is searched in application containers first, then in sidecars, and only among TCP ports', () => {
  const pod = podOf({ containers: [app], initContainers: [sidecar] });
  const targets = ['http', 'admin', 'dns', 'none', 81, undefined];
  assert.deepEqual(
    targets.map((targetPort) => targetPortOf(pod, { port: 80, ...(targetPort ? { targetPort } : {}) })),
    [8080, 9901, 0, 0, 81, 80],
  );
});

test("a named port belongs to the same container: another container's port of that name is not opened", () => {
  const other = { name: 'other', readinessProbe: { httpGet: { port: 'http' } } };
  const named = { name: 'named', ports: [{ name: 'http', containerPort: 8081 }] };
  assert.deepEqual(kubeletPorts(podOf({ containers: [named, other] })), []);
  assert.deepEqual(kubeletPorts(podOf({ containers: [{ ...other, ports: named.ports }] })), [8081]);
  assert.deepEqual(
    kubeletPorts(podOf({ containers: [{ name: 'a', livenessProbe: { httpGet: { port: '8082' } } }] })),
    [8082],
  );
});

test('a handler opens a port only if its host is absent or an address of the pod', () => {
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

test('handlers that the kubelet does not run over the network open no port', () => {
  const hooks = { postStart: exec, preStop: { tcpSocket: { port: 8085 }, sleep: { seconds: 1 } } };
  assert.deepEqual(
    kubeletPorts(podOf({ containers: [{ name: 'a', lifecycle: hooks, livenessProbe: exec }] })),
    [],
  );
});

test("a pod with a native sidecar has the sidecar's kubelet ports, and is an endpoint of a Service that names its port", () => {
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
  const nodePod = resources.find((one) => one.kind === 'nodePod')?.value;
  assert.deepEqual(nodePod?.probePorts, [8080, 9901, 9902, 9903, 9904]);
  const workload = resources.find((one) => one.kind === 'workload')?.value;
  assert.deepEqual(
    [...(workload?.services.values() ?? [])].flat().map(({ targetPort }) => targetPort),
    [9901],
  );
});
