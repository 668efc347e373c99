/** Before an uninstall: an agent cannot tell it from a restart, and keeps its pods closed for the one that comes after it. */
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

/** All replicas are of the present template, and no other is left. Pure. */
export function rolledOut({ metadata, spec, status = {} }: Deployment): boolean {
  return (
    (status.observedGeneration ?? 0) >= metadata.generation &&
    status.replicas === spec.replicas &&
    status.updatedReplicas === spec.replicas &&
    status.availableReplicas === spec.replicas
  );
}

/**
 * Rolls the control plane to one that forbids nothing, then lets all pods go at one moment, and waits until the nodes have done so.
 * Error: WEFT_RELEASE.
 */
export async function releaseNodes(config: KubeConfig, namespace: string, name: string): Promise<void> {
  const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;
  const found = (await requestJson(config, 'GET', path)) as Deployment;
  // A moment of an earlier uninstall does not count.
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
        `the control plane did not come up anew in ${rolloutMsMax} ms: nodes may keep pods closed; weft cleanup on each opens them`,
      );
    }
    await sleep(500);
  }
  const atMs = Date.now() + renewMs + marginMs + untunneledMs;
  await setRelease(config, namespace, new Date(atMs).toISOString());
  await agentsEmpty(config, namespace);
  // Nodes that heard of it later than others still dial what listens on for this long.
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

/** Resolves when every agent says that it holds no pod. Error: WEFT_RELEASE, with those that do not. */
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
        `agents still hold pods on ${left.join(', ')}: see their logs; helm uninstall --no-hooks goes on, and weft cleanup opens a node's pods`,
      );
    }
    await sleep(500);
  }
}
