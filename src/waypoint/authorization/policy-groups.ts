/**
 * Which policies a request has to satisfy, and by which addresses and ports those policies name its destination. Derived from the
 * mesh's view and kept until the next update.
 *
 * A Service has an address and a port of its own, and its pods have others: `80` at the Service may be `8080` at the pod. Policies that
 * target a Service are written in the Service's numbers. A DENY also holds where it names the pod's address or port: an author who
 * took the other number must not leave open what the policy was written to close. An ALLOW that names the pod's numbers allows nothing.
 */
import type { IpAddress, SocketAddress } from '../../model/address.js';
import { isV6 } from '../../model/address.js';
import { emptyMatch, type AuthorizationPolicy } from '../../model/policy.js';
import type { Service } from '../../model/service.js';
import type { ServiceKey, Workload } from '../../model/workload.js';
import { candidatesOf, type Candidate } from '../../state/resolve.js';
import type { MeshView } from '../../state/store.js';
import type { Endpoint } from '../upstream/endpoint.js';

/** Policies that are decided together: any DENY that matches denies, one ALLOW has to match where there are any. */
export interface PolicyGroup {
  readonly policies: readonly AuthorizationPolicy[];
  /** The destination in the numbers of the group's policies. */
  readonly destination: SocketAddress;
  /** DENY policies that name an address or a port, and the destination's other numbers, for which these hold as well. */
  readonly named: readonly AuthorizationPolicy[];
  readonly others: readonly SocketAddress[];
}

/** The Service and the Service's port that a request is sent to: the one that was asked, or a route's backend. */
export interface ServicePort {
  readonly service: ServiceKey;
  readonly port: number;
}

interface Known {
  readonly sent: ServicePort | undefined;
  readonly groups: readonly PolicyGroup[];
}

export class PolicyGroups {
  #byEndpoint = new Map<Endpoint, Known[]>();
  #byService = new Map<string, readonly PolicyGroup[]>();
  #ofWorkload = new Map<string, readonly AuthorizationPolicy[]>();
  #ofService = new Map<string, readonly AuthorizationPolicy[]>();

  constructor(
    private readonly view: MeshView,
    private readonly node: string,
  ) {}

  /** The view has changed. */
  clear(): void {
    this.#byEndpoint = new Map();
    this.#byService = new Map();
    this.#ofWorkload = new Map();
    this.#ofService = new Map();
  }

  /** Of the Service that a client asked for, at `dialled`. */
  ofService({ service: key, port }: ServicePort, dialled: IpAddress): readonly PolicyGroup[] {
    const policies = this.#policiesForService(key);
    if (policies.length === 0) return none;
    const name = `${key} ${port} ${dialled}`;
    let found = this.#byService.get(name);
    if (!found) {
      const targetPort = this.view.service(key)?.ports.find((one) => one.servicePort === port)?.targetPort;
      found = groupsOf(policies, { ip: dialled, port }, [], targetPort ? [targetPort] : []);
      this.#byService.set(name, found);
    }
    return found;
  }

  /**
   * Of an endpoint: the policies of its workload, those of the Service that the request is sent to, and those of each other Service that
   * stands before the port, since a request comes to the same pod by whatever address or route. Behind another waypoint that waypoint
   * chooses the endpoint: the policies of all that it may choose count, since that waypoint judges for this one and not for the client.
   */
  ofEndpoint(endpoint: Endpoint, sent: ServicePort | undefined): readonly PolicyGroup[] {
    let list = this.#byEndpoint.get(endpoint);
    if (!list) this.#byEndpoint.set(endpoint, (list = []));
    for (const known of list)
      if (known.sent?.service === sent?.service && known.sent?.port === sent?.port) return known.groups;
    const groups = distinct(
      this.candidates(endpoint, sent).flatMap((candidate) => this.#ofCandidate(candidate, sent)),
    );
    list.push({ sent, groups });
    return groups;
  }

  /** The workloads to which an endpoint may lead. */
  candidates(endpoint: Endpoint, sent: ServicePort | undefined): readonly Candidate[] {
    // As it is now: the endpoint's own word of it may be older than a policy that selects it.
    const workload = this.view.workload(endpoint.workload.uid) ?? endpoint.workload;
    if (!endpoint.via || !sent) return [{ workload, target: endpoint.target }];
    const service = this.view.service(sent.service);
    if (!service) return [{ workload, target: endpoint.target }];
    // Whatever is near to the other waypoint, or healthy when the request is there.
    const all: Service = {
      ...service,
      loadBalancing: { preference: [], mode: 'unspecified', allowUnhealthy: true },
    };
    return candidatesOf(this.view, all, { ip: endpoint.target.ip, port: sent.port }, this.node);
  }

  #ofCandidate({ workload, target }: Candidate, sent: ServicePort | undefined): readonly PolicyGroup[] {
    const groups = [...groupsOf(this.#policiesFor(workload), target, [], [])];
    if (sent) {
      const vip = addressOf(this.view.service(sent.service), target.ip);
      groups.push(
        ...groupsOf(
          this.#policiesForService(sent.service),
          { ip: vip, port: sent.port },
          [target.ip],
          [target.port],
        ),
      );
    }
    for (const [key, ports] of this.view.servicesOf(workload)) {
      if (key === sent?.service) continue;
      const policies = this.#policiesForService(key);
      if (policies.length === 0) continue;
      const service = this.view.service(key);
      const vip = addressOf(service, target.ip);
      // By which of the Service's ports the request would have come is not known: each of them has to allow it.
      const servicePorts = new Set<number>();
      for (const { servicePort, targetPort } of [...ports, ...(service?.ports ?? [])])
        if (targetPort === target.port) servicePorts.add(servicePort);
      for (const port of servicePorts)
        groups.push(...groupsOf(policies, { ip: target.ip, port }, [vip], [target.port]));
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

/** A Service's address of the family of `like`; `like` itself where the Service has none (headless). */
function addressOf(service: Service | undefined, like: IpAddress): IpAddress {
  return (
    service?.addresses.find(({ ip }) => isV6(ip) === isV6(like))?.ip ?? service?.addresses[0]?.ip ?? like
  );
}

/** One group, or none where there are no policies. `ips` and `ports`: the destination's other numbers. */
function groupsOf(
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
  return [{ policies, destination, named, others }];
}

/**
 * A DENY policy without the rules that name neither address nor port: `notPorts: [80]` is in the Service's numbers alone, and would deny
 * port 80 itself if it were held against the pod's. Rules keep their index, which refusals name.
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

/** Pods behind one Service mostly share policies and ports: such groups are decided once. */
function distinct(groups: readonly PolicyGroup[]): readonly PolicyGroup[] {
  if (groups.length < 2) return groups;
  const found = new Map<string, PolicyGroup>();
  for (const group of groups) {
    const { policies, destination, others } = group;
    const ips = policies.some(namesAddress) ? [destination.ip, ...others.map(({ ip }) => ip)] : [];
    const ports = [destination.port, ...others.map(({ port }) => port)];
    const name = [...policies.map(({ key }) => key), ...ips, ...ports].join(' ');
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
