/** What stands in the way of Weft on a cluster, before it is installed and after: each finding with what to do. */
import type { KubeConfig } from '@kubernetes/client-node';
import { getOptional } from '../../kubernetes/get.js';
import { requestJson } from '../../kubernetes/request.js';
import { errorText } from '../../base/errors.js';
import { meshModeOf } from '../../model/object-settings.js';
import { agentsOf, type Agent } from './agents.js';
import { configurationFindings } from './configuration.js';
import type { Finding } from '../../findings/finding.js';
import { objectFindings } from './object-findings.js';
import { readRollout } from './install-watch.js';
import { rolloutFindings } from './rollout.js';

const kernelFloor: readonly [number, number] = [6, 1];
const serverFloor: readonly [number, number] = [1, 30];
const skewMsMax = 10_000;
const hbonePort = 15008;

export interface NodeItem {
  readonly metadata: { readonly name: string };
  readonly status?: {
    readonly nodeInfo?: {
      readonly operatingSystem?: string;
      readonly kernelVersion?: string;
      readonly architecture?: string;
    };
  };
}
type Labels = Readonly<Record<string, string>>;
export interface NamespaceItem {
  readonly metadata: { readonly name: string; readonly labels?: Labels };
}
interface PolicyPort {
  readonly port?: number | string;
  readonly endPort?: number;
  readonly protocol?: string;
}
export interface NetworkPolicyItem {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly policyTypes?: readonly string[];
    readonly ingress?: readonly { readonly ports?: readonly PolicyPort[] }[];
    readonly egress?: readonly { readonly ports?: readonly PolicyPort[] }[];
  };
}

const number = (text: string): readonly [number, number] => {
  const [major = 0, minor = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  return [major, minor];
};
const below = (a: readonly [number, number], b: readonly [number, number]): boolean =>
  a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);

/** Pure. */
export function nodeFindings(nodes: readonly NodeItem[]): Finding[] {
  const findings: Finding[] = [];
  const good: string[] = [];
  for (const { metadata, status } of nodes) {
    const { operatingSystem = 'linux', kernelVersion = '0' } = status?.nodeInfo ?? {};
    if (operatingSystem !== 'linux') {
      findings.push({ level: 'ok', what: `node ${metadata.name} runs ${operatingSystem}: it is left alone` });
    } else if (below(number(kernelVersion), kernelFloor)) {
      findings.push({
        level: 'fail',
        what: `node ${metadata.name} has kernel ${kernelVersion}`,
        help: `Linux ${kernelFloor.join('.')} or later is needed: upgrade the node, or keep agents off it by agent.nodeSelector (its pods then stay outside of the mesh)`,
      });
    } else good.push(`${metadata.name} (${kernelVersion})`);
  }
  if (good.length > 0) findings.unshift({ level: 'ok', what: `kernels: ${good.join(', ')}` });
  return findings;
}

const admits = (ports: readonly PolicyPort[] | undefined, port: number): boolean =>
  ports === undefined ||
  ports.length === 0 ||
  ports.some(
    ({ port: from, endPort, protocol = 'TCP' }) =>
      protocol === 'TCP' &&
      (from === undefined ||
        from === port ||
        (typeof from === 'number' && from <= port && port <= (endPort ?? from))),
  );

/** Policies of the CNI that keep tunnels from pods of the mesh: what was plain on 8080 comes on 15008. Pure. */
export function networkPolicyFindings(
  policies: readonly NetworkPolicyItem[],
  isEnrolled: (namespace: string) => boolean,
): Finding[] {
  const findings: Finding[] = [];
  for (const { metadata, spec } of policies) {
    if (!isEnrolled(metadata.namespace)) continue;
    const types = spec.policyTypes ?? ['Ingress', ...(spec.egress ? ['Egress'] : [])];
    for (const [type, rules] of [
      ['Ingress', spec.ingress],
      ['Egress', spec.egress],
    ] as const) {
      if (!types.includes(type)) continue;
      // Without any rule it closes its pods to everybody: that is what it is for.
      if (!rules || rules.length === 0 || rules.some(({ ports }) => admits(ports, hbonePort))) continue;
      findings.push({
        level: 'fail',
        what: `NetworkPolicy ${metadata.namespace}/${metadata.name} lets no ${type.toLowerCase()} rule have TCP port ${hbonePort}`,
        help: `connections between nodes of the mesh come on that port: add { port: ${hbonePort} } to a rule; AccessPolicy says who may reach which port of the application`,
      });
    }
  }
  return findings;
}

/** Pure. */
export function agentFindings(
  agents: readonly Agent[],
  nodes: readonly NodeItem[],
  nowMs: number,
): Finding[] {
  const findings: Finding[] = [];
  for (const { metadata, status } of nodes) {
    if ((status?.nodeInfo?.operatingSystem ?? 'linux') !== 'linux') continue;
    if (agents.some(({ node }) => node === metadata.name)) continue;
    findings.push({
      level: 'fail',
      what: `node ${metadata.name} has no agent`,
      help: 'its pods of the mesh are closed: see agent.nodeSelector and agent.tolerations, and events of the DaemonSet weft-agent',
    });
  }
  for (const { node, pod, status, why, help, isPodUnready } of agents) {
    if (!status) {
      findings.push({
        level: 'fail',
        what: `the agent of ${node} does not answer: ${why ?? ''}`,
        help: help ?? `see the log of ${pod}`,
      });
      continue;
    }
    const { control, waiting, missing, cni, certificates, timeMs, ready } = status;
    if (ready && isPodUnready)
      findings.push({
        level: 'fail',
        what: `node ${node}: the agent says that it is ready, and the kubelet does not find its pod ready`,
        help: `an upgrade waits for it: events of ${pod} have the probe's own words (kubectl describe pod)`,
      });
    else if (ready)
      findings.push({ level: 'ok', what: `node ${node}: ready, ${status.pods.length} pods in the mesh` });
    if (control.state !== 'connected')
      findings.push({
        level: 'fail',
        what: `the agent of ${node} does not reach the control plane: ${control.why}`,
        help: 'what it knows stays in force; see Deployment weft-control',
      });
    for (const [uid, reason] of Object.entries(waiting))
      findings.push({
        level: 'fail',
        what: `${uid} on ${node} is not in the mesh yet: ${reason}`,
        help: `it is tried again each second; the log of ${pod} says more`,
      });
    for (const [feature, reason] of Object.entries(missing))
      findings.push({
        level: 'warn',
        what: `the kernel of ${node} lacks ${feature}: ${reason}`,
        help: 'what it would carry goes the longer way',
      });
    for (const { type, why: what } of status.undecodable ?? [])
      findings.push({
        level: 'fail',
        what: `the agent of ${node} does not understand a resource (${type}): ${what}`,
        help: 'what it concerns is closed: upgrade the agent, or take the new feature out of the object',
      });
    if (cni !== 'in its place')
      findings.push({
        level: 'warn',
        what: `CNI plugin on ${node}: ${cni}`,
        help: 'new pods are in the mesh only once the agent has found them, about a second after their start: see cni.binDir and cni.confDir',
      });
    for (const { id, error } of certificates)
      if (error !== undefined)
        findings.push({
          level: 'fail',
          what: `no certificate for ${id} on ${node}: ${error}`,
          help: 'see the log of weft-control',
        });
    const skewMs = Math.abs(timeMs - nowMs);
    if (skewMs > skewMsMax)
      findings.push({
        level: 'warn',
        what: `the clock of ${node} is ${Math.round(skewMs / 1000)} s off this one`,
        help: 'certificates are dated: run a time service on every node',
      });
  }
  return findings;
}

const wantedRights: readonly { readonly verb: string; readonly group: string; readonly resource: string }[] =
  [
    { verb: 'create', group: '', resource: 'namespaces' },
    { verb: 'create', group: 'apps', resource: 'daemonsets' },
    { verb: 'create', group: 'apps', resource: 'deployments' },
    { verb: 'create', group: 'rbac.authorization.k8s.io', resource: 'clusterroles' },
    { verb: 'create', group: 'rbac.authorization.k8s.io', resource: 'clusterrolebindings' },
    { verb: 'create', group: 'apiextensions.k8s.io', resource: 'customresourcedefinitions' },
    { verb: 'create', group: 'admissionregistration.k8s.io', resource: 'validatingadmissionpolicies' },
  ];

async function rightsFindings(config: KubeConfig): Promise<Finding[]> {
  const refused: string[] = [];
  for (const { verb, group, resource } of wantedRights) {
    const review = (await requestJson(
      config,
      'POST',
      '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
      {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes: { verb, group, resource } },
      },
    )) as { status?: { allowed?: boolean } };
    if (review.status?.allowed !== true) refused.push(`${verb} ${resource}`);
  }
  return refused.length === 0
    ? [{ level: 'ok', what: 'you may install it' }]
    : [
        {
          level: 'fail',
          what: `you may not ${refused.join(', ')}`,
          help: 'ask for these rights, or have somebody install it who has them',
        },
      ];
}

/** What this account cannot read is not checked. */
const find = (config: KubeConfig, path: string): Promise<unknown> => getOptional(config, path, [404, 403]);

/** Other meshes and CNIs that change what Weft sees. */
async function neighbourFindings(
  config: KubeConfig,
  namespaces: readonly NamespaceItem[],
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const cilium = (await find(config, '/api/v1/namespaces/kube-system/configmaps/cilium-config')) as
    { data?: Labels } | undefined;
  if (cilium?.data) {
    const rewrites =
      cilium.data['kube-proxy-replacement'] === 'true' && cilium.data['bpf-lb-sock-hostns-only'] !== 'true';
    findings.push(
      rewrites
        ? {
            level: 'warn',
            what: "Cilium's socket load balancing is on for pods: it may turn a Service's address into a pod's before Weft sees it",
            help: 'set socketLB.hostNamespaceOnly=true in Cilium: policies of the pod apply either way, waypoints and balancing of the Service only then',
          }
        : { level: 'ok', what: 'Cilium leaves connections of pods to others' },
    );
  }
  for (const { metadata } of namespaces) {
    const labels = metadata.labels ?? {};
    if (isEnrolled(labels) && metadata.name === 'kube-system') {
      findings.push({
        level: 'warn',
        what: 'namespace kube-system is in the mesh',
        help: 'agents find the control plane by the cluster DNS, which would wait for an agent after a reboot of all nodes: label its pods weft.dev/mesh=disabled',
      });
    }
    if (
      isEnrolled(labels) &&
      (labels['istio-injection'] === 'enabled' || labels['linkerd.io/inject'] === 'enabled')
    )
      findings.push({
        level: 'warn',
        what: `namespace ${metadata.name} has sidecars injected too`,
        help: 'traffic would be encrypted twice: take one of the labels away',
      });
  }
  return findings;
}
const isEnrolled = (labels: Labels): boolean => meshModeOf(labels) === 'enabled';

/** Pure. */
export function securityFindings(namespace: NamespaceItem | undefined, name: string): Finding[] {
  const enforced = namespace?.metadata.labels?.['pod-security.kubernetes.io/enforce'];
  return enforced === undefined || enforced === 'privileged'
    ? []
    : [
        {
          level: 'fail',
          what: `namespace ${name} enforces pod security "${enforced}"`,
          help: `the agent needs the host's network and process list: kubectl label namespace ${name} --overwrite pod-security.kubernetes.io/enforce=privileged`,
        },
      ];
}

export const isInstalled = async (config: KubeConfig, namespace: string): Promise<boolean> =>
  (await find(config, `/apis/apps/v1/namespaces/${namespace}/deployments/weft-control`)) !== undefined;

/** All that can be said; where Weft is not installed yet, what it would meet. Errors: ApiError, where the cluster is not reached. */
export async function checkCluster(config: KubeConfig, namespace: string): Promise<Finding[]> {
  const version = (await requestJson(config, 'GET', '/version')) as { gitVersion: string };
  const findings: Finding[] = [
    below(number(version.gitVersion.replace(/^v/, '')), serverFloor)
      ? {
          level: 'fail',
          what: `Kubernetes ${version.gitVersion}`,
          help: `${serverFloor.join('.')} or later is needed (node names in token reviews)`,
        }
      : { level: 'ok', what: `Kubernetes ${version.gitVersion}` },
  ];
  const nodes = ((await requestJson(config, 'GET', '/api/v1/nodes')) as { items: readonly NodeItem[] }).items;
  findings.push(...nodeFindings(nodes));
  const namespaces = (
    (await requestJson(config, 'GET', '/api/v1/namespaces')) as { items: readonly NamespaceItem[] }
  ).items;
  const enrolled = new Set(
    namespaces
      .filter(({ metadata }) => isEnrolled(metadata.labels ?? {}))
      .map(({ metadata }) => metadata.name),
  );
  findings.push(
    ...securityFindings(
      namespaces.find(({ metadata }) => metadata.name === namespace),
      namespace,
    ),
  );
  const policies = (await find(config, '/apis/networking.k8s.io/v1/networkpolicies')) as
    { items: readonly NetworkPolicyItem[] } | undefined;
  findings.push(...networkPolicyFindings(policies?.items ?? [], (name) => enrolled.has(name)));
  findings.push(...(await neighbourFindings(config, namespaces)));
  if (!(await isInstalled(config, namespace))) {
    findings.push(...(await rightsFindings(config)));
    findings.push({ level: 'ok', what: `Weft is not installed in ${namespace}` });
    return findings;
  }
  try {
    findings.push(...rolloutFindings(await readRollout(config, namespace)));
    findings.push(...agentFindings(await agentsOf(config, namespace), nodes, Date.now()));
  } catch (error) {
    findings.push({
      level: 'warn',
      what: `the control plane and the agents could not be asked: ${errorText(error)}`,
      help: `the right to list pods and to forward ports in ${namespace} is needed`,
    });
  }
  findings.push(...(await configurationFindings(config)));
  findings.push(...(await objectFindings(config, namespace)));
  if (enrolled.size === 0)
    findings.push({
      level: 'ok',
      what: 'no namespace is in the mesh: kubectl label namespace NAME weft.dev/mesh=enabled',
    });
  return findings;
}

const marks = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' } as const;
export function* findingLines(findings: readonly Finding[]): Generator<string> {
  for (const { level, what, help } of findings) {
    yield `${marks[level]}  ${what}`;
    if (help !== undefined) yield `      ${help}`;
  }
}
