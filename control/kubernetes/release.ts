/**
 * Unenrolls every pod before an uninstall. An agent cannot tell an uninstall from a restart: without this step it would leave its pods
 * closed for its successor.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import { WeftError } from '../../src/base/errors.js';
import { requestAgents } from './agents.js';
import { leaseName, releaseAnnotation, renewMs } from './leader.js';
import { requestJson } from '../../src/kubernetes/request.js';
import { untunneledMs } from '../removal.js';

const flag = '--enrol-none';
const rolloutMsMax = 90_000;
const emptyMsMax = 60_000;
const marginMs = 2_500;

interface Deployment {
  readonly metadata: { readonly generation: number };
  readonly spec: {
    readonly replicas: number;
    readonly template: {
      readonly spec: { readonly containers: { readonly name: string; readonly args?: string[] }[] };
    };
  };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly availableReplicas?: number;
  };
}

/** Whether all replicas run the current template and no old replica is left. Pure. */
function rolledOut({ metadata, spec, status = {} }: Deployment): boolean {
  return (
    (status.observedGeneration ?? 0) >= metadata.generation &&
    status.replicas === spec.replicas &&
    status.updatedReplicas === spec.replicas &&
    status.availableReplicas === spec.replicas
  );
}

/**
 * Rolls the control plane out with the flag for an uninstall, which refuses no connection, then sets one moment at which all pods are unenrolled, and
 * waits until the nodes have done so.
 * Errors: WEFT_RELEASE; ApiError.
 */
export async function releaseNodes(config: KubeConfig, namespace: string, name: string): Promise<void> {
  const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;
  const found = (await requestJson(config, 'GET', path)) as Deployment;
  // Clears the time that an earlier uninstall may have set.
  await setRelease(config, namespace, 'not yet');
  const containers = found.spec.template.spec.containers.map((container) => ({
    name: container.name,
    args: [...(container.args ?? []).filter((arg) => arg !== flag), flag],
  }));
  await requestJson(config, 'PATCH', `${path}?fieldManager=weft-uninstall&force=true`, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: { template: { spec: { containers } } },
  });
  const until = Date.now() + rolloutMsMax;
  while (!rolledOut((await requestJson(config, 'GET', path)) as Deployment)) {
    if (Date.now() > until) {
      throw new WeftError(
        'WEFT_RELEASE',
        `the rollout of the control plane did not finish in ${rolloutMsMax} ms: nodes may keep pods closed; run weft cleanup on each node to open them`,
      );
    }
    await sleep(500);
  }
  const atMs = Date.now() + renewMs + marginMs + untunneledMs;
  await setRelease(config, namespace, new Date(atMs).toISOString());
  await agentsEmpty(config, namespace);
  // For this long, nodes that received the change late may still dial listeners that stay open.
  await sleep(marginMs);
}

async function setRelease(config: KubeConfig, namespace: string, at: string): Promise<void> {
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${leaseName}`;
  await requestJson(config, 'PATCH', `${path}?fieldManager=weft-uninstall&force=true`, {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name: leaseName, annotations: { [releaseAnnotation]: at } },
  });
}

/** Resolves when every agent reports that it has no enrolled pod. Error: WEFT_RELEASE, with the nodes whose agents do not. */
async function agentsEmpty(config: KubeConfig, namespace: string): Promise<void> {
  const until = Date.now() + emptyMsMax;
  for (;;) {
    const left = (await requestAgents(config, namespace, '/healthz/empty'))
      .filter(({ status }) => status !== 200)
      .map(({ node }) => node);
    if (left.length === 0) return;
    if (Date.now() > until) {
      throw new WeftError(
        'WEFT_RELEASE',
        `pods are still enrolled on ${left.join(', ')}: see the logs of the agents there; to go on, run helm uninstall --no-hooks, then weft cleanup on those nodes to open their pods`,
      );
    }
    await sleep(500);
  }
}
