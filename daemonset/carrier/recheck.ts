/**
 * After a change: which rules forbid their flows now, and which would be decided differently. Pure. Every rule that the change may concern is
 * authorized once, whatever the number of its flows.
 */
import { parseSocketAddress, type IpAddress } from '../../src/model/address.js';
import type { Service } from '../../src/model/service.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { MeshChange } from '../../src/state/change.js';
import type { MeshView } from '../../src/state/store.js';
import { recheck } from '../../src/path/choose-path.js';
import type { LocalPod } from '../worker-ipc.js';
import { draftContent, type HeldRule } from './held-rules.js';
import { decideAgain, type DecisionView } from './rule.js';

export interface Rechecked {
  /** By reason: rules whose flows are cut. */
  readonly forbidden: ReadonlyMap<string, readonly HeldRule[]>;
  /** Rules that match no later connection. Their flows continue. */
  readonly ended: readonly HeldRule[];
}

export interface Concerned {
  /** Whether a decision about connections to this workload may differ. */
  readonly isTouched: (uid: WorkloadUid) => boolean;
  /** Whether the path of the rule's connections may differ. */
  readonly isRelated: (rule: HeldRule) => boolean;
}

/** All rules, for a view whose former state is unknown. */
export const everything: Concerned = { isTouched: () => true, isRelated: () => true };

/** The rules that a change of the view concerns. `view`: after the change. */
export function concernedBy(
  { view }: Pick<DecisionView, 'view'>,
  podOf: (cookie: bigint) => LocalPod | undefined,
  change: MeshChange,
  isTouched: (uid: WorkloadUid) => boolean,
): Concerned {
  const isRelated = ({ context, pod: cookie }: HeldRule): boolean => {
    const { about, pod, targets } = context;
    const local = podOf(cookie);
    if (!local || isTouched(pod)) return true;
    // The record names the workload that has the client's address.
    if (about.kind !== 'captured') return hasChanged(change, about.remote.ip);
    const { namespace } = local.pod;
    const { ip } = about.dialed;
    if (change.addresses.has(ip) || change.references.has(`${namespace} ${ip}`)) return true;
    const service = view.serviceByAddress(ip, namespace);
    if (service && isServiceRelated(view, change, service)) return true;
    return targets.some(({ workload, endpoint }) => {
      if (workload !== undefined && isTouched(workload)) return true;
      return change.addresses.has(parseSocketAddress(endpoint).ip);
    });
  };
  return { isTouched, isRelated };
}

function hasChanged(change: MeshChange, ip: IpAddress): boolean {
  if (change.addresses.has(ip)) return true;
  for (const reference of change.references) if (reference.endsWith(` ${ip}`)) return true;
  return false;
}

function isServiceRelated(view: MeshView, change: MeshChange, service: Service): boolean {
  if (change.services.has(service.key) || change.endpointsOf.has(service.key)) return true;
  const { waypoint } = service;
  if (waypoint?.kind === 'hostname' && change.endpointsOf.has(waypoint.service)) return true;
  if (waypoint?.kind === 'address' && (change.addresses.has(waypoint.ip) || change.endpointsOf.size > 0))
    return true;
  // The locality of this node is that of its workloads.
  if (service.loadBalancing && change.workloads.size > 0) return true;
  // An endpoint's address may have another owner.
  if (change.addresses.size > 0)
    for (const endpoint of view.endpointsOf(service.key))
      if (endpoint.addresses.some((ip) => change.addresses.has(ip))) return true;
  return false;
}

export function recheckRules(
  context: DecisionView,
  rules: Iterable<HeldRule>,
  podOf: (cookie: bigint) => LocalPod | undefined,
  { isTouched, isRelated }: Concerned,
): Rechecked {
  const forbidden = new Map<string, HeldRule[]>();
  const ended: HeldRule[] = [];
  for (const rule of rules) {
    const { check, about } = rule.context;
    if (check && isTouched(check.uid)) {
      const why = recheck(context.view, check.uid, check.attributes, check.peer);
      if (why !== undefined) {
        const list = forbidden.get(why);
        if (list) list.push(rule);
        else forbidden.set(why, [rule]);
        continue;
      }
    }
    if (rule.isEnded || !rule.matching) continue;
    if (!isRelated(rule) && !(check && isTouched(check.uid))) continue;
    const local = podOf(rule.pod);
    const decision = local && decideAgain(context, local, about);
    const isSame =
      decision?.kind === 'rule' &&
      decision.draft.match !== undefined &&
      draftContent(decision.draft).equals(rule.matching.content);
    if (!isSame) ended.push(rule);
  }
  return { forbidden, ended };
}
