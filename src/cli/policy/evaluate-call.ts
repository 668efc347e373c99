/** What the policies of a mesh would do with observed calls. Pure. */
import type { IpAddress } from '../../model/address.js';
import type { AuthorizationPolicy } from '../../model/policy.js';
import type { HttpAttributes } from '../../policy/authorize.js';
import type { Service } from '../../model/service.js';
import type { ServiceKey } from '../../model/workload.js';
import type { Candidate } from '../../state/resolve.js';
import type { ServicePort } from '../../waypoint/authorization/reachable.js';
import type { Call } from './calls.js';
import type { Decision, PolicyMesh } from './policy-mesh.js';
import { distinctionsOf, ipVariants, requestVariants, type Distinctions } from './variants.js';

export type Outcome =
  | 'allowed'
  /** Allowed, and policies in audit mode would refuse it. */
  | 'audited'
  | 'refused'
  /** Some of what was observed, or some pods, and others not: the observation does not say. */
  | 'depends'
  /** Who calls, or what is called, is not known. */
  | 'unknown';

export interface Evaluation {
  readonly outcome: Outcome;
  /** The policies that decide; empty: none. */
  readonly policy: string;
  readonly why: string;
}

/** Something that a call may have reached. */
interface Reached {
  readonly candidate: Candidate;
  readonly sent: ServicePort | undefined;
}
interface Target extends Reached {
  readonly distinctions: Distinctions;
}

const unknown = (why: string): Evaluation => ({ outcome: 'unknown', policy: '', why });
const podsMax = 64;
const namesMax = 64;

export class CallEvaluator {
  readonly #targets = new Map<string, readonly Target[]>();
  readonly #distinctions = new Map<string, Distinctions>();
  /** By content. */
  readonly #same = new Map<string, Distinctions>();
  readonly #addresses = new Map<string, readonly IpAddress[]>();

  constructor(readonly mesh: PolicyMesh) {}

  /** @param key of the call's target, if it is known */
  evaluate(call: Call, key = targetKey(call)): Evaluation {
    const { source, destination } = call;
    if (destination.isOther || call.port === 0)
      return unknown('the destination is beyond the limits of what is observed');
    if (source.isOther) return unknown('the client is beyond the limits of what is observed');
    const targets = this.#targetsOf(call, key);
    if (targets.length === 0) return unknown('the destination is not among the workloads of the manifests');
    const decisions: Decision[] = [];
    let isPartial = false;
    for (const target of targets) {
      const { distinctions } = target;
      // Without blocks no policy tells addresses apart.
      const ips = ipVariants(
        distinctions.blocks.length === 0 ? [] : this.#addressesOf(call),
        distinctions.blocks,
      );
      const requests = this.#isRead(call, target)
        ? requestVariants(
            { method: call.method, pathTemplate: call.pathTemplate, host: [...call.services][0] ?? '' },
            distinctions,
          )
        : { all: [undefined], isPartial: false };
      isPartial ||=
        ips.isPartial || requests.isPartial || (distinctions.isOpaque && requests.all[0] !== undefined);
      // Names are not observed. A request that was read came without TLS.
      const names = call.isRequest ? [] : distinctions.serverNames;
      isPartial ||= names.length > namesMax;
      const variants: readonly {
        readonly http?: HttpAttributes | undefined;
        readonly serverName?: string;
      }[] = [
        ...requests.all.map((http) => ({ http })),
        ...names.slice(0, namesMax).map((serverName) => ({ serverName })),
      ];
      for (const ip of ips.all)
        for (const { http, serverName } of variants)
          decisions.push(
            this.mesh.decide(
              { identity: source.identity, ip },
              target.candidate,
              target.sent,
              http,
              serverName,
            ),
          );
    }
    return evaluationOf(decisions, isPartial);
  }

  /** Whether a waypoint reads requests of the call. If it has not reported them, they are unknown. */
  #isRead(call: Call, { candidate, sent }: Target): boolean {
    if (!call.isRequest && call.paths.has('waypoint')) return false;
    return this.mesh.isRead(candidate, sent);
  }

  #targetsOf(call: Call, key: string): readonly Target[] {
    let found = this.#targets.get(key);
    if (!found)
      this.#targets.set(
        key,
        (found = this.#findTargets(call).map((one) => ({ ...one, distinctions: this.#distinctionsOf(one) }))),
      );
    return found;
  }

  #findTargets({ destination, services, port }: Call): readonly Reached[] {
    const { namespace, workload, pods } = destination;
    const dialed = [...services].flatMap((host) => this.mesh.serviceOf(host, namespace) ?? []);
    // A Service without a waypoint has no policies of its own.
    const guarded = dialed.filter(({ waypoint }) => waypoint !== undefined);
    const named = pods.size > 0 ? [...pods] : [''];
    const workloads = [
      ...new Set(
        named.flatMap((pod) =>
          workload === '' && pod === '' ? [] : this.mesh.workloads(namespace, workload, pod),
        ),
      ),
    ];
    if (workloads.length === 0)
      return dialed
        .flatMap((service) =>
          this.mesh.endpointsOf(service, port).map((candidate): Reached => ({
            candidate,
            sent: service.waypoint ? { service: service.key, port } : undefined,
          })),
        )
        .slice(0, podsMax);
    return workloads.slice(0, podsMax).flatMap((one): Reached[] => {
      const [ip] = one.addresses;
      if (ip === undefined) return [];
      const candidate = { workload: one, target: { ip, port } };
      const sent = guarded.flatMap((service) => servicePortsOf(service, one.services.get(service.key), port));
      return sent.length > 0 ? sent.map((to) => ({ candidate, sent: to })) : [{ candidate, sent: undefined }];
    });
  }

  #distinctionsOf({ candidate: { workload }, sent }: Reached): Distinctions {
    const key = `${workload.uid} ${sent?.service ?? ''}`;
    let found = this.#distinctions.get(key);
    if (found) return found;
    const keys = new Set<ServiceKey>([
      ...this.mesh.view.servicesOf(workload).keys(),
      ...(sent ? [sent.service] : []),
    ]);
    const policies: AuthorizationPolicy[] = [...this.mesh.policiesFor(workload)];
    for (const one of keys) policies.push(...this.mesh.policiesForService(one));
    found = distinctionsOf(policies);
    // Targets whose policies distinguish the same share it, and with it the variants of paths.
    const content = JSON.stringify(found);
    const same = this.#same.get(content);
    if (same) found = same;
    else this.#same.set(content, found);
    this.#distinctions.set(key, found);
    return found;
  }

  #addressesOf({ source }: Call): readonly IpAddress[] {
    if (source.workload === '') return [];
    const key = JSON.stringify([source.namespace, source.workload, ...source.pods]);
    let found = this.#addresses.get(key);
    if (found) return found;
    const named = source.pods.size > 0 ? [...source.pods] : [''];
    found = [
      ...new Set(
        named
          .flatMap((pod) => this.mesh.workloads(source.namespace, source.workload, pod))
          .flatMap((one) => one.addresses),
      ),
    ];
    this.#addresses.set(key, found);
    return found;
  }
}

/** Calls with the same key have the same targets. */
export const targetKey = ({ destination, services, port }: Call): string =>
  JSON.stringify([
    destination.namespace,
    destination.workload,
    ...destination.pods,
    '',
    ...services,
    port,
    destination.isOther,
  ]);

/** The Service ports that lead to a pod's port. */
function servicePortsOf(
  service: Service,
  own: Service['ports'] | undefined,
  targetPort: number,
): ServicePort[] {
  const leads = (ports: Service['ports']): number[] =>
    ports.filter((one) => one.targetPort === targetPort).map(({ servicePort }) => servicePort);
  const found = new Set([...leads(own ?? []), ...leads(service.ports)]);
  // No endpoint was known, so that the port is the Service's.
  if (found.size === 0 && service.ports.some(({ servicePort }) => servicePort === targetPort))
    found.add(targetPort);
  return [...found].map((port) => ({ service: service.key, port }));
}

function evaluationOf(decisions: readonly Decision[], isPartial: boolean): Evaluation {
  const refused = decisions.find(({ allowed }) => !allowed);
  const passed = decisions.find(({ allowed }) => allowed);
  const policyOf = (one: Decision | undefined): string => one?.policy ?? '';
  if (refused && passed)
    return {
      outcome: 'depends',
      policy: policyOf(refused),
      why: `refused for some of it: ${refused.why}`,
    };
  if (isPartial)
    return {
      outcome: 'depends',
      policy: policyOf(refused ?? passed),
      why: 'policies distinguish more than is observed (regular expressions, query parameters, or many values)',
    };
  if (refused) return { outcome: 'refused', policy: policyOf(refused), why: refused.why };
  const audited = decisions.find((one) => one.audited.length > 0);
  if (audited)
    return {
      outcome: 'audited',
      policy: audited.audited.join(','),
      why: `in audit mode ${audited.audited.join(', ')} would refuse it`,
    };
  return { outcome: 'allowed', policy: policyOf(passed), why: passed?.why ?? '' };
}
