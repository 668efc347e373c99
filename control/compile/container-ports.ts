/**
 * The ports that a pod declares, and those to which its kubelet connects. Kubernetes reads the same fields in FindPort (EndpointSlice
 * controller) for the ports that Services name, and in ResolveContainerPort (kubelet) for those of probes and hooks. Pure.
 */
import type { Container, Handler, PodObject } from '../objects/objects.js';

/** Containers that run as long as the pod does. `restartPolicy: Always` makes an init container a native sidecar. */
function runningContainers(pod: PodObject): readonly Container[] {
  const sidecars = (pod.spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  // FindPort searches sidecars last: port names of application containers take precedence.
  return [...(pod.spec.containers ?? []), ...sidecars];
}

/**
 * The port of the pod to which a Service's port leads.
 * @returns 0 if the pod declares no TCP port of that name
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
 * Ports of the pod to which its kubelet connects from the node: those of probes and of HTTP lifecycle hooks. A named port belongs to the same
 * container. A handler whose `host` is not an address of the pod leads elsewhere and opens no port. Hooks with `tcpSocket` are left out: the
 * kubelet has never run them.
 * @returns sorted, without duplicates
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

/** The port of that name, or the text as a number if no port has that name. NaN if neither. */
function portNamed({ ports = [] }: Container, name: string): number {
  return ports.find((port) => port.name === name)?.containerPort ?? (/^\d+$/.test(name) ? Number(name) : NaN);
}
