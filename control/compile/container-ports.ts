/**
 * Which ports a pod declares, and which of them its kubelet connects to. Kubernetes' own readers of the same fields: FindPort (EndpointSlice
 * controller) for the ports that Services name, ResolveContainerPort (kubelet) for those of probes and hooks. Pure.
 */
import type { Container, Handler, PodObject } from '../objects/objects.js';

/** Containers that run as long as the pod does: the API knows an init container as a native sidecar by `restartPolicy: Always`. */
function runningContainers(pod: PodObject): readonly Container[] {
  const sidecars = (pod.spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  // FindPort looks at sidecars last: the name of an application's port counts before theirs.
  return [...(pod.spec.containers ?? []), ...sidecars];
}

/**
 * The port of the pod that a Service's port leads to.
 * @returns 0 where the pod declares no TCP port of the name
 */
export function targetPortOf(pod: PodObject, port: { port: number; targetPort?: number | string }): number {
  const { targetPort = port.port } = port;
  if (typeof targetPort === 'number') return targetPort;
  for (const { ports = [] } of runningContainers(pod))
    for (const { name, protocol = 'TCP', containerPort } of ports)
      if (name === targetPort && protocol === 'TCP') return containerPort;
  return 0;
}

/**
 * Ports of the pod that its kubelet connects to from the node: probes, and lifecycle hooks by HTTP. A port by name is one of the same
 * container. A handler whose `host` is not an address of the pod leads elsewhere and opens nothing here. Hooks by `tcpSocket` are not here:
 * the kubelet has never run them.
 * @returns sorted, each once
 */
export function kubeletPorts(pod: PodObject): number[] {
  const own = new Set((pod.status?.podIPs ?? []).map(({ ip }) => ip));
  const found = new Set<number>();
  for (const container of runningContainers(pod)) {
    const { livenessProbe, readinessProbe, startupProbe, lifecycle } = container;
    const hooks = [lifecycle?.postStart, lifecycle?.preStop].map((hook): Handler => {
      return hook?.httpGet ? { httpGet: hook.httpGet } : {};
    });
    for (const handler of [livenessProbe, readinessProbe, startupProbe, ...hooks]) {
      const to = handler?.httpGet ?? handler?.tcpSocket ?? handler?.grpc;
      if (!to || ('host' in to && to.host && !own.has(to.host))) continue;
      const port = typeof to.port === 'number' ? to.port : portNamed(container, to.port);
      if (port > 0 && port < 65_536) found.add(port);
    }
  }
  return [...found].sort((a, b) => a - b);
}

/** A number in quotes is one, where no port has that name. NaN where there is none. */
function portNamed({ ports = [] }: Container, name: string): number {
  return ports.find((port) => port.name === name)?.containerPort ?? (/^\d+$/.test(name) ? Number(name) : NaN);
}
