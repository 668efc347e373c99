/** Problems of Weft on a cluster, before and after the installation. Each finding says what to do. */
import type { KubeConfig } from '@kubernetes/client-node';
import { getOptional } from '../../kubernetes/get.js';
import { requestJson } from '../../kubernetes/request.js';
import { errorText } from '../../base/errors.js';
import { meshModeOf } from '../../model/object-settings.js';
import { agentFindings } from './agent-findings.js';
import { agentsOf } from './agents.js';
import { apiFindings, apiServicePath, type ApiServiceItem } from './api-findings.js';
import { configurationFindings } from './configuration.js';
import type { Finding } from '../../findings/finding.js';
import { UnreadKinds } from './list.js';
import { objectFindings } from './object-findings.js';
import type { NamespaceItem } from './namespaces.js';
import { networkPolicyFindings, type NetworkPolicyItem } from './network-policy-findings.js';
import { below, nodeFindings, versionOf, type NodeItem } from './node-findings.js';
import { readRollout } from './install-watch.js';
import { rolloutFindings } from './rollout.js';

const serverFloor: readonly [number, number] = [1, 30];

type Labels = Readonly<Record<string, string>>;
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
    ? [{ level: 'ok', what: 'your account may install Weft' }]
    : [
        {
          level: 'fail',
          what: `your account may not ${refused.join(', ')}`,
          help: 'get these rights, or use an account that has them',
        },
      ];
}

/** Undefined for objects that this account may not read: they are not checked. */
const find = (config: KubeConfig, path: string): Promise<unknown> => getOptional(config, path, [404, 403]);

/** Other meshes and CNIs that change connections before Weft sees them. */
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
            help: 'set socketLB.hostNamespaceOnly=true in Cilium: without it, policies of the pod apply, but waypoints and load balancing of the Service do not',
          }
        : { level: 'ok', what: 'Cilium does not change the connections of pods' },
    );
  }
  for (const { metadata } of namespaces) {
    const labels = metadata.labels ?? {};
    if (isEnrolled(labels) && metadata.name === 'kube-system') {
      findings.push({
        level: 'warn',
        what: 'namespace kube-system is in the mesh',
        help: 'agents resolve the control plane by the cluster DNS, and after a reboot of all nodes the DNS pods would wait for an agent: label them weft.dev/mesh=disabled',
      });
    }
    if (
      isEnrolled(labels) &&
      (labels['istio-injection'] === 'enabled' || labels['linkerd.io/inject'] === 'enabled')
    )
      findings.push({
        level: 'warn',
        what: `namespace ${metadata.name} also has sidecar injection`,
        help: 'traffic would be encrypted twice: remove one of the labels',
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

/** All findings. Before an installation: the problems that it would have. Error: ApiError if the cluster cannot be reached. */
export async function checkCluster(config: KubeConfig, namespace: string): Promise<Finding[]> {
  const version = (await requestJson(config, 'GET', '/version')) as { gitVersion: string };
  const findings: Finding[] = [
    below(versionOf(version.gitVersion.replace(/^v/, '')), serverFloor)
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
      what: `cannot read the status of the control plane and the agents: ${errorText(error)}`,
      help: `your account needs the right to list pods and to forward ports in ${namespace}`,
    });
  }
  findings.push(...apiFindings((await find(config, apiServicePath)) as ApiServiceItem | undefined));
  const unread = new UnreadKinds();
  findings.push(...(await configurationFindings(config, unread.add)));
  findings.push(...(await objectFindings(config, namespace, unread.add)));
  for (const what of unread.texts())
    findings.push({ level: 'warn', what, help: 'check with an account that may list them in the cluster' });
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
