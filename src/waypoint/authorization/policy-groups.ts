/**
 * The policies that a request has to satisfy, and the destination addresses and ports to evaluate them with. Derived from the mesh state
 * and cached until the next update.
 *
 * A Service and its pods have different addresses and ports: port 80 of the Service may be port 8080 of the pod. Policies that target a
 * Service are evaluated with the Service's address and port. A DENY also matches by the pod's address or port: if its author wrote the
 * pod's numbers, the request must still be denied. An ALLOW that names the pod's numbers allows nothing.
 */
import type { IpAddress, SocketAddress } from '../../model/address.js';
import { isV6 } from '../../model/address.js';
import { emptyMatch, type AuthorizationPolicy } from '../../model/policy.js';
import type { Service } from '../../model/service.js';
import { subsetOf } from '../../model/subset.js';
import type { ServiceKey, Workload } from '../../model/workload.js';
import type { Candidate } from '../../state/resolve.js';
import type { MeshView } from '../../state/store.js';
import type { ChangeImpact } from '../state/change-impact.js';
import type { Endpoint } from '../cluster/endpoint.js';
import { EndpointPolicyCache, type EndpointPolicies, type PolicyGroup } from './endpoint-policies.js';
import { reachableBy, type ServicePort } from './reachable.js';

export class PolicyGroups {
  readonly #endpoints = new EndpointPolicyCache();
  readonly #byService = new Map<ServiceKey, Map<string, readonly PolicyGroup[]>>();
  readonly #ofWorkload = new Map<string, readonly AuthorizationPolicy[]>();
  readonly #ofService = new Map<string, readonly AuthorizationPolicy[]>();

  constructor(
    private readonly view: MeshView,
    private readonly node: string,
  ) {}

  /**
   * Drops the groups that a mesh update affects, and no others: deriving those of a large mesh again takes tens of milliseconds. Returns the
   * endpoints' policies that are affected and in use. Called after each mesh update.
   */
  forget(impact: ChangeImpact): EndpointPolicies[] {
    for (const key of impact.services()) {
      this.#byService.delete(key);
      this.#ofService.delete(key);
    }
    if (impact.mayAffectAll) this.#ofWorkload.clear();
    else for (const uid of impact.workloads()) this.#ofWorkload.delete(uid);
    return this.#endpoints.forget(impact);
  }

  /** Drops the policies of an endpoint, except those in use. */
  forgetEndpoint(endpoint: Endpoint): void {
    this.#endpoints.forgetEndpoint(endpoint);
  }

  /** The policies of the Service that the client dialed. `dialed`: the Service address that the client used. */
  ofService({ service: key, port }: ServicePort, dialed: IpAddress): readonly PolicyGroup[] {
    const policies = this.#policiesForService(key);
    if (policies.length === 0) return none;
    let all = this.#byService.get(key);
    if (!all) this.#byService.set(key, (all = new Map()));
    const name = `${port} ${dialed}`;
    let found = all.get(name);
    if (!found) {
      const targetPort = this.view.service(key)?.ports.find((one) => one.servicePort === port)?.targetPort;
      found = groupsOf(namespaceOf(key), policies, { ip: dialed, port }, [], targetPort ? [targetPort] : []);
      all.set(name, found);
    }
    return found;
  }

  /**
   * The policies that apply at an endpoint: those of its workload, of the Service that the request is sent to, and of each other Service
   * whose target port is the endpoint's, since the request reaches the same pod by whatever address or route. If the endpoint is behind
   * another waypoint, that waypoint chooses the workload and authorizes this waypoint in place of the client. So the policies of every
   * workload that it may choose apply here.
   */
  ofEndpoint(endpoint: Endpoint, sent: ServicePort | undefined): readonly PolicyGroup[] {
    const one = this.at(endpoint, sent);
    return (one.groups ??= distinct(
      reachableBy(this.view, this.node, endpoint, sent).flatMap((candidate) =>
        this.#ofCandidate(candidate, sent),
      ),
    ));
  }

  /** The policies of an endpoint, to be used by a request that is sent there. */
  at(endpoint: Endpoint, sent: ServicePort | undefined): EndpointPolicies {
    return this.#endpoints.at(endpoint, sent);
  }

  #ofCandidate({ workload, target }: Candidate, sent: ServicePort | undefined): readonly PolicyGroup[] {
    const groups = [...groupsOf(workload.namespace, this.#policiesFor(workload), target, [], [])];
    // A subset has the policies of its Service.
    const keys = new Set(sent ? [sent.service, subsetOf(sent.service)?.service ?? sent.service] : []);
    for (const key of sent ? keys : []) {
      const vip = addressOf(this.view.service(key), target.ip);
      groups.push(
        ...groupsOf(
          namespaceOf(key),
          this.#policiesForService(key),
          { ip: vip, port: sent?.port ?? 0 },
          [target.ip],
          [target.port],
        ),
      );
    }
    for (const [key, ports] of this.view.servicesOf(workload)) {
      if (keys.has(key)) continue;
      const policies = this.#policiesForService(key);
      if (policies.length === 0) continue;
      const service = this.view.service(key);
      const vip = addressOf(service, target.ip);
      // It is unknown which of the Service's ports the request would have used, so each of them has to allow it.
      const servicePorts = new Set<number>();
      for (const { servicePort, targetPort } of [...ports, ...(service?.ports ?? [])])
        if (targetPort === target.port) servicePorts.add(servicePort);
      for (const port of servicePorts)
        groups.push(...groupsOf(namespaceOf(key), policies, { ip: target.ip, port }, [vip], [target.port]));
    }
    return groups;
  }

  #policiesFor(workload: Workload): readonly AuthorizationPolicy[] {
    let found = this.#ofWorkload.get(workload.uid);
    if (!found) this.#ofWorkload.set(workload.uid, (found = this.view.policiesFor(workload)));
    return found;
  }

  #policiesForService(key: ServiceKey): readonly AuthorizationPolicy[] {
    let found = this.#ofService.get(key);
    if (!found) this.#ofService.set(key, (found = this.view.policiesForService(key)));
    return found;
  }
}

const none: readonly PolicyGroup[] = [];

const namespaceOf = (key: ServiceKey): string => key.slice(0, key.indexOf('/'));

/** A Service's address of the same family as `like`, else any address of it; `like` itself for a headless Service. */
function addressOf(service: Service | undefined, like: IpAddress): IpAddress {
  return (
    service?.addresses.find(({ ip }) => isV6(ip) === isV6(like))?.ip ?? service?.addresses[0]?.ip ?? like
  );
}

/** One group, or none if there are no policies. `ips` and `ports`: the destination's other addresses and ports. */
function groupsOf(
  namespace: string,
  policies: readonly AuthorizationPolicy[],
  destination: SocketAddress,
  ips: readonly IpAddress[],
  ports: readonly number[],
): readonly PolicyGroup[] {
  if (policies.length === 0) return none;
  const named = policies.flatMap(namedDeny);
  const others: SocketAddress[] = [];
  if (named.length > 0) {
    for (const ip of new Set([destination.ip, ...ips]))
      for (const port of new Set([destination.port, ...ports]))
        if (ip !== destination.ip || port !== destination.port) others.push({ ip, port });
  }
  const comparesServerNames = policies.some((one) =>
    isServerNameComparedAt(one, [destination.port, ...others.map(({ port }) => port)]),
  );
  return [{ namespace, policies, comparesServerNames, destination, named, others }];
}

/** Whether a rule compares TLS server names of connections to one of these ports. */
const isServerNameComparedAt = ({ rules }: AuthorizationPolicy, ports: readonly number[]): boolean =>
  rules.some(({ clauses }) =>
    clauses.some(({ matches }) =>
      matches.some(
        ({ tls, destinationPorts }) =>
          tls !== undefined &&
          (destinationPorts.length === 0 || destinationPorts.some((port) => ports.includes(port))),
      ),
    ),
  );

/**
 * A DENY policy reduced to the rules that name an address or a port. `notPorts: [80]` refers to the Service's port only: evaluated with the
 * pod's port, it would deny port 80 itself. Rules keep their index, because refusals name it.
 */
function namedDeny(policy: AuthorizationPolicy): AuthorizationPolicy[] {
  if (policy.action !== 'deny') return [];
  const isNamed = policy.rules.map(({ clauses }) =>
    clauses.some(({ matches }) =>
      matches.some(
        ({ destinationPorts, destinationIps }) => destinationPorts.length > 0 || destinationIps.length > 0,
      ),
    ),
  );
  if (!isNamed.includes(true)) return [];
  return [{ ...policy, rules: policy.rules.map((rule, i) => (isNamed[i] ? rule : neverRule)) }];
}

const neverRule: AuthorizationPolicy['rules'][number] = { clauses: [{ matches: [emptyMatch] }] };

/** Removes duplicate groups, so that each is evaluated once: pods of one Service mostly share policies and ports. */
function distinct(groups: readonly PolicyGroup[]): readonly PolicyGroup[] {
  if (groups.length < 2) return groups;
  const found = new Map<string, PolicyGroup>();
  for (const group of groups) {
    const { namespace, policies, destination, others } = group;
    const ips = policies.some(namesAddress) ? [destination.ip, ...others.map(({ ip }) => ip)] : [];
    const ports = [destination.port, ...others.map(({ port }) => port)];
    const name = [namespace, ...policies.map(({ key }) => key), ...ips, ...ports].join(' ');
    if (!found.has(name)) found.set(name, group);
  }
  return [...found.values()];
}

const namesAddress = ({ rules }: AuthorizationPolicy): boolean =>
  rules.some(({ clauses }) =>
    clauses.some(({ matches }) =>
      matches.some((match) => match.destinationIps.length > 0 || match.notDestinationIps.length > 0),
    ),
  );
