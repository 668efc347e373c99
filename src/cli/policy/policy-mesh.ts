/**
 * A compiled mesh in which single connections and requests are authorized, by the functions that nodes and waypoints use: `authorize`, and the
 * waypoint's groups of policies.
 */
import type { IpAddress } from '../../model/address.js';
import { parseIp } from '../../model/address.js';
import type { SpiffeId } from '../../model/identity.js';
import type { AuthorizationPolicy } from '../../model/policy.js';
import { refusedWaypointOf } from '../../model/refused-waypoint.js';
import type { Service } from '../../model/service.js';
import { templateName } from '../../model/template-pod.js';
import type { ServiceKey, Workload } from '../../model/workload.js';
import { authorize, denialReason, type HttpAttributes, type Verdict } from '../../policy/authorize.js';
import { candidatesOf, waypointsOf, type Candidate } from '../../state/resolve.js';
import type { MeshSnapshot } from '../../state/snapshot.js';
import { MeshState } from '../../state/store.js';
import { authorizeClient } from '../../waypoint/authorization/authorize.js';
import type { PolicyGroup } from '../../waypoint/authorization/endpoint-policies.js';
import { PolicyGroups } from '../../waypoint/authorization/policy-groups.js';
import type { ServicePort } from '../../waypoint/authorization/reachable.js';
import { Endpoint } from '../../waypoint/cluster/endpoint.js';
import { clientOf } from '../../waypoint/listener/client.js';

export interface Caller {
  /** Undefined: plaintext from outside of the mesh. */
  readonly identity: SpiffeId | undefined;
  readonly ip: IpAddress;
}

export interface Decision {
  readonly allowed: boolean;
  /** Who decides: the pod's node, the waypoint, or nobody, since the pod is not in the mesh. */
  readonly by: 'node' | 'waypoint' | 'nobody';
  readonly why: string;
  readonly policy?: string;
  readonly rule?: number;
  /** Policies in audit mode that would refuse it. */
  readonly audited: readonly string[];
}

/** What is the same for every call of a candidate. */
interface Way {
  readonly service: Service | undefined;
  readonly waypoint: Service['waypoint'];
  /** Of a waypoint that does not exist or does not admit the Service: its Gateway. */
  readonly refused: string | undefined;
  /** Computed when a waypoint first decides: the policies of the Service that is dialed, and of the endpoint. */
  groups?: readonly (readonly PolicyGroup[])[];
}

const anyIp = [parseIp('0.0.0.0'), parseIp('::')] as const;
const node = 'policy';

const decisionOf = (by: Decision['by'], verdict: Verdict): Decision => ({
  allowed: verdict.allowed,
  by,
  why: !verdict.allowed
    ? denialReason(verdict)
    : verdict.reason === 'allowed'
      ? `policy ${verdict.policy} rule ${verdict.rule} allows it`
      : 'no policy forbids it',
  ...(verdict.policy === undefined ? {} : { policy: verdict.policy }),
  ...(verdict.rule === undefined ? {} : { rule: verdict.rule }),
  audited: verdict.audited,
});
const without = (allowed: boolean, by: Decision['by'], why: string): Decision => ({
  allowed,
  by,
  why,
  audited: [],
});

export class PolicyMesh {
  readonly view = new MeshState();
  readonly #groups: PolicyGroups;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #ways = new WeakMap<Candidate, Map<ServicePort | undefined, Way>>();
  readonly #policies = new Map<string, readonly AuthorizationPolicy[]>();
  readonly #byPod = new Map<string, Workload>();
  readonly #byName = new Map<string, Workload[]>();
  readonly #byHost = new Map<string, Service[]>();

  constructor(readonly snapshot: MeshSnapshot) {
    this.view.apply(snapshot.mesh);
    this.#groups = new PolicyGroups(this.view, node);
    for (const workload of snapshot.mesh.workloads ?? []) {
      const { namespace, name, workloadName } = workload;
      this.#byPod.set(`${namespace}/${name}`, workload);
      // A pod made of a Deployment's template has its name.
      const names = new Set([workloadName, name, templateName(name)]);
      for (const one of names) add(this.#byName, `${namespace}/${one}`, workload);
    }
    for (const service of snapshot.mesh.services ?? []) add(this.#byHost, service.hostname, service);
  }

  /** The pods of a workload: the pod of that name, else those of the workload's name that policies distinguish. */
  workloads(namespace: string, workload: string, pod = ''): readonly Workload[] {
    const one = pod === '' ? undefined : this.#byPod.get(`${namespace}/${pod}`);
    return one ? [one] : (this.#byName.get(`${namespace}/${workload}`) ?? []);
  }
  /** The Service of this host name; of several namespaces' that of `namespace`. */
  serviceOf(hostname: string, namespace: string): Service | undefined {
    const all = this.#byHost.get(hostname) ?? [];
    return all.find((one) => one.namespace === namespace) ?? all[0];
  }
  /** The Service of this name, else the only host of the ExternalService or ServiceEntry of this name. */
  serviceNamed(namespace: string, name: string): Service | undefined {
    const own = this.view.service(`${namespace}/${name}.${namespace}.svc.cluster.local` as ServiceKey);
    if (own) return own;
    const hosts = (this.snapshot.mesh.services ?? []).filter(
      (one) => one.namespace === namespace && one.name === name,
    );
    return hosts.length === 1 ? hosts[0] : undefined;
  }
  /** The endpoints of a Service's port, healthy or not. */
  endpointsOf(service: Service, port: number): readonly Candidate[] {
    const all: Service = {
      ...service,
      loadBalancing: { preference: [], mode: 'unspecified', allowUnhealthy: true },
    };
    const found = anyIp.flatMap((ip) => candidatesOf(this.view, all, { ip, port }, node));
    return [...new Map(found.map((one) => [`${one.workload.uid} ${one.target.port}`, one])).values()];
  }
  /** The policies by which a pod's node decides. */
  policiesFor(workload: Workload): readonly AuthorizationPolicy[] {
    let found = this.#policies.get(workload.uid);
    if (!found) this.#policies.set(workload.uid, (found = this.view.policiesFor(workload)));
    return found;
  }
  policiesForService(key: ServiceKey): readonly AuthorizationPolicy[] {
    let found = this.#policies.get(key);
    if (!found) this.#policies.set(key, (found = this.view.policiesForService(key)));
    return found;
  }
  /** Whether the pod accepts this port only from a waypoint. */
  hasWaypoint(workload: Workload, port: number): boolean {
    return waypointsOf(this.view, workload, port).length > 0;
  }

  /**
   * A call of a Service's port, or of a pod by its own address and port.
   * @param sent undefined: the pod was dialed
   * @param http undefined: no HTTP request is known
   * @param serverName of the connection's TLS; undefined: none is known
   */
  decide(
    caller: Caller,
    candidate: Candidate,
    sent: ServicePort | undefined,
    http: HttpAttributes | undefined,
    serverName?: string,
  ): Decision {
    const way = this.#way(candidate, sent);
    const { service, waypoint, refused } = way;
    const { workload, target } = candidate;
    if (workload.tunnel === 'none' && (!service?.waypoint || caller.identity === undefined))
      return without(true, 'nobody', `${workload.namespace}/${workload.name} is not in the mesh`);
    if (!waypoint)
      return decisionOf(
        'node',
        authorize(this.policiesFor(workload), {
          identity: caller.identity,
          sourceIp: caller.ip,
          destinationIp: target.ip,
          destinationPort: target.port,
        }),
      );
    if (refused !== undefined)
      return without(false, 'waypoint', `Gateway ${refused} does not exist or does not admit the Service`);
    if (caller.identity === undefined)
      return without(false, 'node', `port ${target.port} accepts connections only from its waypoint`);
    const client = clientOf(caller.identity, { ip: caller.ip, port: 0 });
    const verdicts = this.#groupsOf(way, candidate, sent).map((groups) =>
      authorizeClient(groups, client, http, serverName),
    );
    const last =
      verdicts.find(({ allowed }) => !allowed) ?? verdicts.findLast(({ reason }) => reason === 'allowed');
    const audited = [...new Set(verdicts.flatMap((one) => one.audited))];
    return decisionOf('waypoint', { ...(last ?? { allowed: true, reason: 'no-policy' }), audited });
  }

  /** Computed once: `weft policy diff` evaluates the same candidates for many clients. */
  #way(candidate: Candidate, sent: ServicePort | undefined): Way {
    let known = this.#ways.get(candidate);
    if (!known) this.#ways.set(candidate, (known = new Map()));
    let found = known.get(sent);
    if (!found) {
      const service = sent && this.view.service(sent.service);
      const { workload, target } = candidate;
      const waypoint = service?.waypoint ?? waypointsOf(this.view, workload, target.port)[0];
      found = { service, waypoint, refused: waypoint && refusedWaypointOf(waypoint) };
      known.set(sent, found);
    }
    return found;
  }
  #groupsOf(
    way: Way,
    { workload, target }: Candidate,
    sent: ServicePort | undefined,
  ): readonly (readonly PolicyGroup[])[] {
    const { service } = way;
    return (way.groups ??= [
      ...(service?.waypoint && sent
        ? [this.#groups.ofService(sent, service.addresses[0]?.ip ?? target.ip)]
        : []),
      this.#groups.ofEndpoint(this.#endpoint(workload, target), service?.waypoint ? sent : undefined),
    ]);
  }
  /** Whether a waypoint reads what is sent to the candidate. */
  isRead(candidate: Candidate, sent: ServicePort | undefined): boolean {
    return this.#way(candidate, sent).waypoint !== undefined;
  }

  #endpoint(workload: Workload, target: Candidate['target']): Endpoint {
    const key = `${workload.uid} ${target.ip} ${target.port}`;
    let found = this.#endpoints.get(key);
    if (!found)
      this.#endpoints.set(
        key,
        (found = new Endpoint({ workload, target, protocol: 'unknown', via: undefined })),
      );
    return found;
  }
}

function add<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

/** The decision about calls that reach one of several pods: the first that is refused, else the first. */
export const worst = (decisions: readonly Decision[]): Decision | undefined =>
  decisions.find(({ allowed }) => !allowed) ??
  decisions.find(({ audited }) => audited.length > 0) ??
  decisions[0];
