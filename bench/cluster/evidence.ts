/** The proxies' counters for a variant's connections. If they stayed at zero, the traffic did not pass the variant's proxies. */
import type { KubeConfig } from '@kubernetes/client-node';
import { getThroughPortForward } from '../../src/kubernetes/port-forward.js';
import { provingStats } from '../peers/sidecar.js';
import type { Evidence } from '../result/result.js';
import { itemsAt, type PodItem } from './objects.js';
import { weftMetricsPort, type ClientReport } from './plan.js';
import type { ClusterVariant } from './variants.js';

const counters = ['istio_tcp_connections_opened_total', 'istio_requests_total'];

/** Sums of a namespace's counters in Prometheus' text format, by counter and security policy. Pure. */
export function countersOf(text: string, namespace: string): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const line of text.split('\n')) {
    const found = /^(\w+)\{(.*)\} (\S+)$/.exec(line);
    if (!found) continue;
    const [, name = '', labels = '', value] = found;
    if (!counters.includes(name) || !labels.includes(`destination_workload_namespace="${namespace}"`))
      continue;
    const policy = /connection_security_policy="([^"]*)"/.exec(labels)?.[1] ?? 'unknown';
    const key = `${name}, ${policy}`;
    sums.set(key, (sums.get(key) ?? 0) + Number(value));
  }
  return sums;
}

/** Envoy's counters from the reports of its Jobs. The client's start at zero in each Job; the server's continue. Pure. */
export function sidecarEvidence(
  variant: string,
  reports: readonly { readonly placement: string; readonly report: ClientReport }[],
): Evidence[] {
  const sums = new Map<string, number>();
  for (const { placement, report } of reports) {
    for (const [name, value] of Object.entries(report.counters)) {
      const what = `Envoy, ${placement}, ${name}`;
      sums.set(
        what,
        name.startsWith('client ') ? (sums.get(what) ?? 0) + value : Math.max(sums.get(what) ?? 0, value),
      );
    }
  }
  return [...sums].map(([what, value]) => ({ variant, what, value }));
}

/** Whether the server's sidecar counted the traffic. Pure. */
export const sidecarHandledTraffic = ({ counters }: ClientReport): boolean =>
  provingStats.every((name) => (counters[`server ${name}`] ?? 0) > 0);

/** Counters of agents or waypoints. A program that does not respond is left out. */
export async function weftEvidence(config: KubeConfig, variant: ClusterVariant): Promise<Evidence[]> {
  const selectors = variant.waypoint
    ? [`/api/v1/namespaces/${variant.namespace}/pods?labelSelector=gateway.networking.k8s.io%2Fgateway-name`]
    : ['/api/v1/pods?labelSelector=app%3Dweft-agent'];
  const sums = new Map<string, number>();
  for (const path of selectors) {
    for (const { metadata } of await itemsAt<PodItem & { metadata: { namespace: string } }>(config, path)) {
      const at = { namespace: metadata.namespace, pod: metadata.name, port: weftMetricsPort };
      const text = await getThroughPortForward(config, at, '/metrics').catch(() => '');
      for (const [key, value] of countersOf(text, variant.namespace))
        sums.set(key, (sums.get(key) ?? 0) + value);
    }
  }
  const who = variant.waypoint ? 'waypoints' : 'agents';
  return [...sums].map(([key, value]) => ({ variant: variant.name, what: `Weft, ${who}, ${key}`, value }));
}
