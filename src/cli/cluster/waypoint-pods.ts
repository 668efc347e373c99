/** What the pods of a cluster's waypoints say of themselves, by port-forwards to their admin ports, as far as the caller may forward ports. */
import type { KubeConfig } from '@kubernetes/client-node';
import { eachAtOnce } from '../../base/at-once.js';
import { errorText } from '../../base/errors.js';
import { isRecord } from '../../base/record.js';
import { getThroughPortForward } from '../../kubernetes/port-forward.js';
import { requestJson } from '../../kubernetes/request.js';
import { adminPort } from '../admin.js';
import { podFailure, type PodItem } from './pod-failure.js';
import { gatewayNameLabel, waypointPodSelector } from './waypoint-status.js';

/** Each is a connection through the API server. */
const atOnce = 8;
const podsMax = 200;
const textMax = 256;

/** What is used of a report. Absent: the waypoint does not say it. */
export interface WaypointReport {
  readonly version?: string;
  /** Whether it is connected to the control plane and can decode all that it was sent. */
  readonly isInSync?: boolean;
  /** When its certificate expires. */
  readonly notAfter?: string;
}
export interface WaypointPod {
  /** `NAMESPACE/NAME` of its Gateway. */
  readonly gateway: string;
  readonly pod: string;
  readonly report?: WaypointReport;
  /** Why there is no report. */
  readonly why?: string;
}

const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value.slice(0, textMax) : undefined;

/** A pod of somebody's namespace may say anything: what is not of the form is left out. Error: it is no report. Pure. */
export function waypointReportOf(json: string): WaypointReport {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    value = undefined;
  }
  if (!isRecord(value)) throw new Error('its admin port does not say its status');
  const control = isRecord(value['control']) ? text(value['control']['state']) : undefined;
  const undecodable = value['undecodable'];
  const certificate = isRecord(value['certificate']) ? text(value['certificate']['notAfter']) : undefined;
  const version = text(value['version']);
  return {
    ...(version === undefined ? {} : { version }),
    ...(control === undefined
      ? {}
      : { isInSync: control === 'connected' && !(Array.isArray(undecodable) && undecodable.length > 0) }),
    ...(certificate === undefined || Number.isNaN(Date.parse(certificate)) ? {} : { notAfter: certificate }),
  };
}

type NamedPod = PodItem & { readonly metadata: { readonly namespace: string } };

async function reportOf(config: KubeConfig, item: NamedPod): Promise<Pick<WaypointPod, 'report' | 'why'>> {
  const { namespace, name } = item.metadata;
  const phase = item.status?.phase ?? 'Unknown';
  if (phase !== 'Running') return { why: podFailure(item)?.why ?? `its pod is ${phase}` };
  try {
    const at = { namespace, pod: name, port: adminPort };
    return { report: waypointReportOf(await getThroughPortForward(config, at, '/status')) };
  } catch (error) {
    return {
      why: `it is asked by forwarding a port to its pod, which needs the right to create pods/portforward in ${namespace}: ${errorText(error)}`,
    };
  }
}

/** The pods of waypoints. Error: ApiError if they cannot be listed. @param namespace undefined: all */
export async function waypointPods(config: KubeConfig, namespace?: string): Promise<WaypointPod[]> {
  const within = namespace === undefined ? '' : `/namespaces/${namespace}`;
  const path = `/api/v1${within}/pods?${new URLSearchParams({ labelSelector: waypointPodSelector })}`;
  const { items } = (await requestJson(config, 'GET', path)) as { readonly items: readonly NamedPod[] };
  const own = items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const found: WaypointPod[] = [];
  await eachAtOnce(own, atOnce, async (item, index) => {
    const { namespace: of, name, labels } = item.metadata;
    const gateway = labels?.[gatewayNameLabel];
    if (gateway === undefined) return;
    const said =
      index < podsMax ? await reportOf(config, item) : { why: `only ${podsMax} pods of waypoints are asked` };
    found.push({ gateway: `${of}/${gateway}`, pod: name, ...said });
  });
  return found.sort((a, b) => (`${a.gateway} ${a.pod}` < `${b.gateway} ${b.pod}` ? -1 : 1));
}
