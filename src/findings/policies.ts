/** Finds valid policies that probably do not do what their author expects, by the pods that they select and by their ports. Pure. */
import { nearest } from '../base/nearest.js';
import { labelsOf, namespaceOf, selects, type Labels } from '../model/labels.js';
import type { Finding } from './finding.js';
import {
  isEnrolled,
  isGone,
  nameOf,
  runningContainers,
  type CheckedPod,
  type CheckedPolicy,
  type CheckedService,
  type CheckedWorkload,
  type Labeled,
} from './objects.js';

export interface PolicyObjects {
  readonly policies: readonly CheckedPolicy[];
  readonly namespaces: readonly Labeled[];
  readonly pods: readonly CheckedPod[];
  readonly workloads: readonly CheckedWorkload[];
  readonly services: readonly CheckedService[];
}

/** What policies select: a pod, or a Workload (a machine outside of the cluster). */
interface Selectable {
  readonly namespace: string;
  readonly labels: Labels;
  readonly isEnrolled: boolean;
  /** Declared ports; undefined if none is declared, which is allowed. */
  readonly ports: readonly { readonly name?: string; readonly containerPort: number }[] | undefined;
}
const shownMax = 5;
const list = (values: Iterable<string | number>): string => {
  const all = [...values];
  const more = all.length - shownMax;
  return `${all.slice(0, shownMax).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
};
const isTcp = ({ protocol }: { readonly protocol?: string }): boolean => (protocol ?? 'TCP') === 'TCP';

function selectableIn(objects: PolicyObjects): ReadonlyMap<string, Selectable[]> {
  const all = new Map<string, Selectable[]>();
  const add = (namespace: string, one: Selectable): void => {
    const of = all.get(namespace);
    if (of) of.push(one);
    else all.set(namespace, [one]);
  };
  const namespaces = new Map(objects.namespaces.map((one) => [one.metadata.name, one]));
  for (const pod of objects.pods) {
    if (isGone(pod)) continue;
    const ports = runningContainers(pod)
      .flatMap((one) => one.ports ?? [])
      .filter(isTcp);
    const namespace = namespaceOf(pod);
    add(namespace, {
      namespace,
      labels: labelsOf(pod),
      isEnrolled: isEnrolled(pod, namespaces.get(namespace)),
      ports: ports.length > 0 ? ports : undefined,
    });
  }
  for (const workload of objects.workloads)
    add(namespaceOf(workload), {
      namespace: namespaceOf(workload),
      labels: labelsOf(workload),
      isEnrolled: true,
      ports: workload.spec.ports && workload.spec.ports.length > 0 ? workload.spec.ports : undefined,
    });
  return all;
}

/** The pod's port behind a Service's port; undefined if the pod declares no port of the name that the Service refers to. */
function targetPortOf(
  { port, targetPort }: { readonly port: number; readonly targetPort?: number | string },
  pod: Selectable,
): number | undefined {
  if (typeof targetPort !== 'string') return targetPort ?? port;
  return pod.ports?.find(({ name }) => name === targetPort)?.containerPort;
}

const portsOf = ({ spec }: CheckedPolicy, field: 'ports' | 'notPorts'): ReadonlySet<number> =>
  new Set((spec.rules ?? []).flatMap(({ to }) => (to ?? []).flatMap((target) => target[field] ?? [])));

/** A hint for a selector that selects nothing: an existing value of the label or an existing label with a similar name. */
function meantBy(selector: Labels, pods: readonly Selectable[]): string {
  for (const [key, value] of Object.entries(selector)) {
    const values = new Set(pods.flatMap(({ labels }) => labels[key] ?? []));
    if (values.has(value)) continue;
    if (values.size > 0) {
      const near = nearest(value, values);
      return near === undefined
        ? `; pods there have ${key}=${list(values)}`
        : `; did you mean ${key}=${near}?`;
    }
    const near = nearest(key, new Set(pods.flatMap(({ labels }) => Object.keys(labels))));
    if (near !== undefined) return `; did you mean the label ${near}?`;
  }
  return '';
}

/** A Service's port whose pods listen on a different port. */
interface Mapped {
  readonly service: string;
  readonly target: number;
}

/** Ports that pods listen on according to their declarations and Services, and the Services' ports that map to different ports. */
function portsOfPods(
  selected: readonly Selectable[],
  services: readonly CheckedService[],
): { readonly listening: ReadonlySet<number>; readonly mapped: ReadonlyMap<number, Mapped> } {
  const listening = new Set<number>();
  const mapped = new Map<number, Mapped>();
  for (const pod of selected) {
    for (const { containerPort } of pod.ports ?? []) listening.add(containerPort);
    for (const service of services) {
      if (namespaceOf(service) !== pod.namespace || !selects(service.spec.selector, pod.labels)) continue;
      for (const port of (service.spec.ports ?? []).filter(isTcp)) {
        const target = targetPortOf(port, pod);
        if (target === undefined) continue;
        listening.add(target);
        if (target !== port.port) mapped.set(port.port, { service: nameOf('Service', service), target });
      }
    }
  }
  return { listening, mapped };
}

/** Port findings of a policy by selector or namespace: its ports are pod ports. */
function selectorPortFindings(
  name: string,
  policy: CheckedPolicy,
  selected: readonly Selectable[],
  services: readonly CheckedService[],
): Finding[] {
  const named = (['ports', 'notPorts'] as const).flatMap((field) =>
    [...portsOf(policy, field)].map((port) => ({ field, port })),
  );
  if (named.length === 0) return [];
  const { listening, mapped } = portsOfPods(selected, services);
  // A pod that declares no ports may listen on any port.
  const isKnown = selected.every(({ ports }) => ports !== undefined);
  const isDeny = policy.spec.action === 'DENY';
  return named.flatMap(({ field, port }): Finding[] => {
    if (listening.has(port)) return [];
    const behind = mapped.get(port);
    if (!behind)
      return isKnown
        ? [
            {
              level: 'warn',
              what: `${name}: none of the selected pods declares port ${port} (${field}); known ports: ${list([...listening].sort((a, b) => a - b))}`,
              help: "a policy's ports are pod ports, not Service ports: correct the port, or declare it as a containerPort",
            },
          ]
        : [];
    // Traffic that the policy was meant to deny, or to exclude from what it allows, is allowed.
    const isOpen = field === 'ports' ? isDeny : !isDeny;
    const effect = field === 'notPorts' ? 'excludes nothing' : isDeny ? 'denies nothing' : 'allows nothing';
    return [
      {
        level: isOpen && isKnown ? 'fail' : 'warn',
        what: `${name}: ${field} ${port} is the port of ${behind.service}, whose pods listen on ${behind.target}: it ${effect} there`,
        help: `a policy's ports are pod ports: use ${behind.target}, or target the Service with targetRefs`,
      },
    ];
  });
}

/** Port findings of a policy with `targetRefs`: its ports are Service ports; for a DENY pod ports also count. */
function targetPortFindings(
  name: string,
  policy: CheckedPolicy,
  services: readonly CheckedService[],
  pods: readonly Selectable[],
): Finding[] {
  const targets = (policy.spec.targetRefs ?? []).flatMap(
    ({ name: of }) => services.find(({ metadata }) => metadata.name === of) ?? [],
  );
  if (targets.length === 0) return [];
  const isDeny = policy.spec.action === 'DENY';
  const ports = new Set(targets.flatMap(({ spec }) => (spec.ports ?? []).map(({ port }) => port)));
  const behind = new Set(
    targets.flatMap(({ spec }) =>
      pods
        .filter(({ labels }) => selects(spec.selector, labels))
        .flatMap((pod) => (spec.ports ?? []).flatMap((port) => targetPortOf(port, pod) ?? [])),
    ),
  );
  return [...portsOf(policy, 'ports'), ...portsOf(policy, 'notPorts')]
    .filter((port) => !ports.has(port) && !(isDeny && behind.has(port)))
    .map((port) => ({
      level: 'warn',
      what: `${name}: none of its target Services has port ${port}; known ports: ${list(ports)}`,
      help: 'the ports of a policy with targetRefs are Service ports: correct the port',
    }));
}

/**
 * Findings of all policies.
 * @param root the namespace whose policies apply to the whole mesh
 */
export function policyFindings(objects: PolicyObjects, root: string): Finding[] {
  const all = selectableIn(objects);
  const servicesOf = (namespace: string): readonly CheckedService[] =>
    objects.services.filter((one) => namespaceOf(one) === namespace);
  return objects.policies.flatMap((policy): Finding[] => {
    const name = nameOf(policy.kind ?? 'AccessPolicy', policy);
    const namespace = namespaceOf(policy);
    const isMesh = namespace === root;
    const places = isMesh ? [...all.keys()] : [namespace];
    const candidates = places.flatMap((place) => all.get(place) ?? []);
    if (policy.spec.targetRefs)
      return targetPortFindings(name, policy, servicesOf(namespace), all.get(namespace) ?? []);
    const selector = policy.spec.selector?.matchLabels;
    const selected = candidates.filter(({ labels }) => !selector || selects(selector, labels));
    if (selected.length === 0)
      return selector
        ? [
            {
              level: 'warn',
              what: `${name} selects no pod${isMesh ? '' : ` of namespace ${namespace}`}${meantBy(selector, candidates)}`,
              help: 'it has no effect: correct selector.matchLabels, or keep it for future pods',
            },
          ]
        : [];
    const enrolled = selected.filter((one) => one.isEnrolled);
    // A mesh-wide policy without a selector is not expected to cover pods outside of the mesh.
    if (enrolled.length === 0)
      return isMesh && !selector
        ? []
        : [
            {
              level: 'fail',
              what: `${name} is not enforced: none of the ${selected.length} pods that it selects is in the mesh`,
              help: `label the namespace weft.dev/mesh=enabled (kubectl label namespace ${isMesh ? 'NAME' : namespace} weft.dev/mesh=enabled)`,
            },
          ];
    const outside = selected.length - enrolled.length;
    const left: Finding[] =
      outside === 0 || isMesh
        ? []
        : [
            {
              level: 'warn',
              what: `${name} is not enforced for ${outside} of the ${selected.length} pods that it selects: they are not in the mesh`,
              help: 'they have weft.dev/mesh=disabled, or are on the host network: the policy does not protect them',
            },
          ];
    return [...left, ...selectorPortFindings(name, policy, enrolled, places.flatMap(servicesOf))];
  });
}
