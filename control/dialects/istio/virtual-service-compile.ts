/** Compiles a VirtualService to routes: one for each port of each Service that it is in force for. Never throws. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type { Route, RouteKey, RouteMatch, RouteRule } from '../../../src/model/route.js';
import { appProtocol } from '../../compile/protocols.js';
import { isHeadless, portsOfRoutes } from '../gateway/route-parents.js';
import { serviceKeyOf, tcpPorts } from '../../compile/service.js';
import type { CompiledResource } from '../../compile/resource.js';
import type { Compiled } from '../../kinds/kind.js';
import type { ConnectionRule } from '../../objects/istio-virtual-service.js';
import type { IstioObject, ServiceObject } from '../../objects/objects.js';
import type { Registry } from '../../registry/registry.js';
import { usedFields } from '../fields.js';
import { rootKey } from '../smi/index-keys.js';
import { closedRemark, differing, distinct, fieldRemarks, type Remark } from '../remarks.js';
import { claimableAddresses } from './entry-addresses.js';
import { tcpEntryPorts } from './entry-endpoints.js';
import type { ServiceKey } from '../../../src/model/workload.js';
import { rulesOfService } from './destination-rule/in-force.js';
import { listOf, writtenRules } from './virtual-service-delegates.js';
import { delegateSlot } from './virtual-service-slots.js';
import { concernsVirtualService } from './virtual-service-remarks.js';
import { virtualServiceFields } from './virtual-service-fields.js';
import {
  exportedTo,
  hostVerdicts,
  isExportedTo,
  type HostVerdict,
  type VirtualService,
} from './virtual-service-hosts.js';
import { closedBackends, type RuleContext } from './virtual-service-context.js';
import { httpRules, type WrittenRule } from './virtual-service-http.js';
import { isForMesh, MatchReader } from './virtual-service-matches.js';
import { connectionRule } from './virtual-service-tcp.js';
import { createdMs } from '../../objects/age.js';

type Port = ReturnType<typeof tcpPorts>[number];
type RouteRules = Pick<Route, 'kind' | 'rules'>;
/** What the rules are attached to. */
interface RouteTarget {
  readonly key: ServiceKey;
  /** `<namespace>/<name or host>` */
  readonly name: string;
  readonly addresses: readonly string[];
  /** The object is of its namespace, so that it acts on all of its clients. */
  readonly isProducer: boolean;
}

/** Whether the rules of another object are delegated to this one. */
const isNamed = (object: VirtualService, registry: Registry): boolean =>
  registry.virtualServicesNaming(delegateSlot(nameOf(object))).length > 0;

const nameOf = (object: {
  readonly metadata: { readonly namespace?: string; readonly name: string };
}): string => `${namespaceOf(object)}/${object.metadata.name}`;

/** Matches of an object's routes, over all Services and ports, with the clients that they name and the bodies that they respond with (docs/limits.md). */
const unitsMax = 200_000;
/** Bytes of a body that count as a match. */
const unitBytes = 64;

const unitsOf = ({ matches, filters }: RouteRule): number =>
  matches.reduce((sum, { clients = [] }) => sum + 1 + clients.length, 1) +
  filters.reduce(
    (sum, one) => sum + (one.$case === 'directResponse' ? Math.ceil(one.value.body.length / unitBytes) : 0),
    0,
  );

/** Subsets of a Service are found once for all ports and destinations, and clients once for the same labels. */
function lookupOf(registry: Registry): RuleContext['lookup'] {
  const subsets = new Map<ServiceObject, ReadonlySet<string>>();
  const accounts = new Map<string, ReturnType<Registry['accountsWith']>>();
  return {
    service: (namespace, name) => registry.service(namespace, name),
    serviceEntriesOf: (host, namespace) => registry.serviceEntriesOf(host, namespace),
    accountsWith(labels, namespace) {
      const key = JSON.stringify([namespace, labels]);
      let found = accounts.get(key);
      if (!found) accounts.set(key, (found = registry.accountsWith(labels, namespace)));
      return found;
    },
    hasSubset(service, name) {
      let known = subsets.get(service);
      if (!known) {
        const found = rulesOfService(service, registry)?.subsets ?? [];
        subsets.set(service, (known = new Set(found.map((subset) => subset.name))));
      }
      return known.has(name);
    },
  };
}

const kindOf = (port: Port): 'tcp' | 'tls' | 'http' => {
  const protocol = appProtocol(port);
  return protocol === 'tcp' || protocol === 'tls' ? protocol : 'http';
};
const waitsText =
  'its rules wait to be compiled: the VirtualServices of its namespace have used up their time (docs/limits.md)';

/** By spec: an object is compiled again whenever something that it refers to changes. */
const remarksOfSpecs = new WeakMap<object, readonly Remark[]>();
function remarksOfSpec({ spec }: VirtualService): readonly Remark[] {
  let known = remarksOfSpecs.get(spec);
  if (!known)
    remarksOfSpecs.set(
      spec,
      (known = fieldRemarks(usedFields(spec, virtualServiceFields).filter(concernsVirtualService(spec)))),
    );
  return known;
}

class VirtualServiceCompiler {
  readonly #remarks: Remark[] = [];
  readonly #lost = new Set<string>();
  readonly #routes: Route[] = [];
  readonly #namespace: string;
  #writtenOnce: readonly WrittenRule[] | undefined;
  #units = 0;

  readonly #lookup: RuleContext['lookup'];

  constructor(
    private readonly object: VirtualService,
    private readonly registry: Registry,
    /** Routes to keep instead of translating the rules: other ports are closed. */
    private readonly former?: ReadonlyMap<RouteKey, Route>,
  ) {
    this.#lookup = lookupOf(registry);
    this.#namespace = namespaceOf(object);
    if ((object.spec.hosts ?? []).length === 0 && !isNamed(object, registry))
      this.#remarks.push(differing('it has none, and no VirtualService delegates to it', 'hosts'));
  }

  /** Found when a Service needs them: of many objects for one Service, one is in force. */
  get #written(): readonly WrittenRule[] {
    return (this.#writtenOnce ??= writtenRules(this.object, {
      virtualService: (namespace, name) => this.registry.indexes.VirtualService.get(namespace, name),
    }));
  }

  compile(): Compiled {
    const { object } = this;
    const problem = this.#outOfForce();
    if (problem) return { resources: [], problem };
    const verdicts = this.#collect();
    const resources = this.#routes.map((value) => ({ kind: 'route' as const, value }));
    if (resources.length === 0 && this.#lost.size > 0)
      return { resources, problem: { reason: 'Conflicted', message: [...this.#lost].join('; ') } };
    const whys = verdicts.flatMap(({ why }) => why ?? []);
    if (resources.length === 0 && whys.length > 0 && whys.length === verdicts.length)
      return { resources, problem: { reason: 'NoMatchingHost', message: whys.join('; ') } };
    this.#nameSplits(verdicts);
    const lost = [...this.#lost].map((one) => differing(`not in force on every port: ${one}`));
    const ofFields = object.invalid === undefined ? remarksOfSpec(object) : [];
    return { resources, remarks: [...ofFields, ...distinct(this.#remarks), ...lost] };
  }

  /** TrafficSplits of the namespace yield to the object at its Services, and both statuses say so. */
  #nameSplits(verdicts: readonly HostVerdict[]): void {
    for (const { services } of verdicts)
      for (const { service, lostTo } of services) {
        if (lostTo || namespaceOf(service) !== this.#namespace) continue;
        const { name } = service.metadata;
        const [first, ...others] = this.registry.trafficSplitsOf(rootKey(this.#namespace, name));
        if (!first) continue;
        const more = others.length === 0 ? ' is' : ` and ${others.length} more are`;
        this.#remarks.push(
          differing(
            `TrafficSplit ${nameOf(first)}${more} not in force at its ports of Service ${nameOf(service)}: VirtualServices precede TrafficSplits`,
          ),
        );
      }
  }

  /** The former routes that still have their Service and port, and closed ones in the place of those that are missing. */
  interim(): readonly Route[] {
    if (!this.#outOfForce()) this.#collect();
    return this.#routes;
  }

  /** Makes the routes. */
  #collect(): readonly HostVerdict[] {
    const verdicts = hostVerdicts(this.object, this.registry);
    // An object without hosts is a delegate: its rules are in force where a root names it.
    for (const { host, services, entry, why } of verdicts) {
      if (entry?.lostTo) this.#lost.add(`host ${host} has VirtualService ${nameOf(entry.lostTo)}`);
      else if (entry) this.#entry(host, entry.entry);
      if (why !== undefined) this.#remarks.push(differing(why, 'hosts'));
      for (const { service, lostTo } of services) {
        if (lostTo) this.#lost.add(`Service ${nameOf(service)} has VirtualService ${nameOf(lostTo)}`);
        else this.#service(service);
      }
    }
    return verdicts;
  }

  #outOfForce(): Compiled['problem'] {
    const { object } = this;
    if (!isForMesh(object.spec.gateways))
      return {
        reason: 'UnsupportedGateway',
        message:
          'gateways: without the gateway `mesh` it concerns ingress gateways alone, which Weft does not run',
      };
    if (exportedTo(object)?.length === 0)
      return { reason: 'NotExported', message: 'exportTo: it is exported to no namespace' };
    return undefined;
  }

  #service(service: ServiceObject): void {
    const { object } = this;
    const name = `Service ${nameOf(service)}`;
    const own = namespaceOf(service);
    if (isHeadless(service)) {
      this.#remarks.push(differing(`${name} is headless: it has no address at which routes apply`, 'hosts'));
      return;
    }
    const isProducer = own === this.#namespace;
    if (!isProducer && !isExportedTo(object, this.#namespace)) {
      this.#remarks.push(
        differing(
          `${name} is in another namespace, where the object acts on clients of its own namespace, and exportTo leaves them out`,
          'hosts',
        ),
      );
      return;
    }
    const taken = portsOfRoutes(service, this.registry.routesAttached(nameOf(service), this.#namespace));
    const { clusterIPs, clusterIP } = service.spec;
    const target = {
      key: serviceKeyOf(service),
      name: nameOf(service),
      addresses: clusterIPs ?? (clusterIP === undefined ? [] : [clusterIP]),
      isProducer,
    };
    for (const port of tcpPorts(service)) {
      const route = taken.get(port.port);
      if (route === undefined) this.#port(target, port);
      else this.#lost.add(`port ${port.port} of ${name} belongs to ${route}`);
    }
  }

  /** A host of a ServiceEntry of the object's namespace. */
  #entry(host: string, entry: IstioObject<'ServiceEntry'>): void {
    const target = {
      key: `${this.#namespace}/${host}` as ServiceKey,
      name: `${this.#namespace}/${host}`,
      addresses: claimableAddresses(entry),
      isProducer: true,
    };
    for (const { number, name, protocol } of tcpEntryPorts(entry.spec.ports ?? []))
      this.#port(target, {
        port: number,
        name,
        ...(protocol === undefined ? {} : { appProtocol: protocol }),
      });
  }

  #port(target: RouteTarget, port: Port): void {
    const former = this.former?.get(this.#keyOf(target, port));
    if (former && (former.kind === kindOf(port) || appProtocol(port) === 'unknown')) {
      this.#routes.push(former);
      return;
    }
    const why = this.former ? waitsText : this.object.invalid;
    const made = why === undefined ? this.#rules(target, port) : this.#closed(port, why);
    if (made) this.#add(target, port, made);
  }

  #keyOf({ name }: RouteTarget, { port }: Port): RouteKey {
    return `VirtualService/${this.#namespace}/${this.object.metadata.name}/${name}/${port}` as RouteKey;
  }

  #add(target: RouteTarget, port: Port, made: RouteRules): void {
    const { object } = this;
    const { name } = object.metadata;
    const clientNamespaces = target.isProducer ? exportedTo(object) : undefined;
    this.#routes.push({
      ...made,
      key: this.#keyOf(target, port),
      namespace: this.#namespace,
      name,
      createdMs: createdMs(object),
      parents: [{ service: target.key, port: port.port }],
      ordered: true,
      ...(clientNamespaces ? { clientNamespaces } : {}),
    });
  }

  /** Refuses all requests and connections. */
  #closed(port: Port, why: string): RouteRules {
    const rules: RouteRule[] = [{ name: '0', matches: [], filters: [], backends: closedBackends(why) }];
    return { kind: kindOf(port), rules };
  }

  get #isTooLarge(): boolean {
    return this.#units > unitsMax;
  }

  /** Undefined: no rule is for this port, so that the object leaves it alone. */
  #rules({ key, addresses }: RouteTarget, port: Port): RouteRules | undefined {
    const { spec } = this.object;
    const protocol = appProtocol(port);
    const [tls, tcp] = [listOf<ConnectionRule>(spec.tls), listOf<ConnectionRule>(spec.tcp)];
    const isBytes = protocol === 'tcp' || protocol === 'tls';
    const isHttp = !isBytes && (protocol !== 'unknown' || this.#written.length > 0);
    const context = this.#context(port);
    if (isHttp) {
      const rules: RouteRule[] = [];
      for (const written of this.#written) {
        for (const rule of this.#isTooLarge ? [] : httpRules(written, context)) {
          this.#units += unitsOf(rule);
          rules.push(rule);
        }
      }
      if (this.#isTooLarge) {
        const why = `with all of its Services and ports the object has more than ${unitsMax} matches, clients and ${unitBytes} bytes of bodies`;
        this.#remarks.push(closedRemark(why, 'http'));
        return this.#closed(port, why);
      }
      return rules.length === 0 ? undefined : { kind: 'http', rules: withOthers(rules, key, port) };
    }
    const rules = [
      ...(protocol === 'tcp'
        ? []
        : tls.flatMap((rule, i) => connectionRule(rule, `tls[${i}]`, addresses, context))),
      ...tcp.flatMap((rule, i) => connectionRule(rule, `tcp[${i}]`, addresses, context)),
    ];
    if (rules.length === 0) return undefined;
    const kind = protocol === 'tls' || (protocol === 'unknown' && tls.length > 0) ? 'tls' : 'tcp';
    return { kind, rules: withOthers(rules, key, port) };
  }

  #context({ port }: Port): RuleContext {
    const context: RuleContext = {
      namespace: this.#namespace,
      port,
      origin: `VirtualService ${nameOf(this.object)}`,
      lookup: this.#lookup,
      reader: new MatchReader((field, why) => {
        context.problem ??= `${field}: ${why}`;
        this.#remarks.push(closedRemark(why, field));
      }),
      onProblem: (field, why) => {
        if (field === '') this.#remarks.push(closedRemark(why));
        else {
          context.problem ??= `${field}: ${why}`;
          this.#remarks.push(closedRemark(why, field));
        }
      },
    };
    return context;
  }
}

/**
 * Rules that are all for certain clients leave the others alone, as in Istio, where a client's proxy does not get them. Those clients without
 * a matching rule are refused.
 */
function withOthers(rules: readonly RouteRule[], key: ServiceKey, { port }: Port): RouteRule[] {
  const matches = rules.flatMap((rule): readonly RouteMatch[] =>
    rule.matches.length > 0 ? rule.matches : [{ headers: [], query: [] }],
  );
  if (matches.some(({ clients = [] }) => clients.length === 0)) return [...rules];
  const clients = matches.flatMap((match) => match.clients ?? []);
  const refused: RouteRule = {
    name: 'no-match',
    matches: [{ headers: [], query: [], clients }],
    filters: [{ $case: 'directResponse', value: { status: 404, body: Buffer.alloc(0) } }],
    backends: [],
  };
  const target = { kind: 'service' as const, service: key, port };
  const others: RouteRule = {
    name: 'other-clients',
    matches: [],
    filters: [],
    backends: [{ target, weight: 100, filters: [] }],
  };
  return [...rules, refused, others];
}

export const compileVirtualService = (object: VirtualService, registry: Registry): Compiled =>
  new VirtualServiceCompiler(object, registry).compile();

/** As `Kind.interim`. */
export function interimVirtualService(
  object: VirtualService,
  registry: Registry,
  former: readonly CompiledResource[],
): readonly CompiledResource[] {
  const known = new Map<Route, CompiledResource>();
  for (const one of former) if (one.kind === 'route') known.set(one.value, one);
  const routes = new Map([...known.keys()].map((route) => [route.key, route]));
  return new VirtualServiceCompiler(object, registry, routes)
    .interim()
    .map((value) => known.get(value) ?? { kind: 'route', value });
}
