/**
 * A VirtualService as HTTPRoutes, TCPRoutes and TLSRoutes. Its rules match in the order written, those of an HTTPRoute by how much they say:
 * where that changes which rule a request meets, the object is not converted. The control plane reads VirtualServices, so it may stay.
 */
import { isDeepStrictEqual } from 'node:util';
import { fieldsOf, groupOf, textsOf, type Fields, type SourceObject } from '../load.js';
import { Block } from './block.js';
import { faultPolicy } from './faults.js';
import { backendOf, httpActions, type Actions } from './http-actions.js';
import {
  areDisjoint,
  httpMatch,
  Impossible,
  overtakes,
  type ConvertedRule,
  type HttpMatch,
} from './matches.js';
import { Reader } from './reader.js';
import { serviceNamed, serviceTarget, type Services } from './services.js';

const rulesMax = 16;
const keep = 'Weft reads the VirtualService as it is: keep it, and the DestinationRule that has its subsets';

interface Target {
  readonly namespace: string;
  readonly name: string;
}

/** Whether a match or an object is for workloads of the mesh, and not for gateways alone. */
const isForMesh = (gateways: readonly string[]): boolean =>
  gateways.length === 0 || gateways.includes('mesh');

function ruleOf(reader: Reader, index: number): ConvertedRule | undefined {
  const name = reader.text('name');
  const given = reader.children('match');
  const matches = given.flatMap((match) => {
    if (!isForMesh(match.texts('gateways'))) {
      match.takeAll();
      return [];
    }
    const port = match.number('port');
    return [{ match: httpMatch(match), ...(port === undefined ? {} : { port }) }];
  });
  // A rule for gateways alone meets no request of the mesh.
  if (given.length > 0 && matches.length === 0) {
    reader.takeAll();
    return undefined;
  }
  return {
    index,
    reader,
    matches,
    ...(name !== undefined && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name) ? { name } : {}),
  };
}

/** Throws Impossible if a later rule would be tried before an earlier one for a request that both match. */
function checkOrder(rules: readonly ConvertedRule[], actions: ReadonlyMap<ConvertedRule, Actions>): void {
  const every: readonly { readonly match: HttpMatch; readonly port?: number }[] = [{ match: {} }];
  for (const [i, later] of rules.entries())
    for (const earlier of rules.slice(0, i)) {
      if (isDeepStrictEqual(actions.get(earlier), actions.get(later))) continue;
      for (const a of earlier.matches.length > 0 ? earlier.matches : every)
        for (const b of later.matches.length > 0 ? later.matches : every) {
          const isPortApart = a.port !== undefined && b.port !== undefined && a.port !== b.port;
          if (!isPortApart && !areDisjoint(a.match, b.match) && overtakes(b.match, a.match))
            throw new Impossible(
              later.reader.path,
              `the order of the rules matters: ${earlier.reader.path} comes first here, and an HTTPRoute would try ${later.reader.path} first, because its match says more`,
            );
        }
    }
}

/** Services that several VirtualServices of a namespace are for. In the mesh the rules of the oldest count, and files have no age. */
export function sharedHosts(sources: readonly SourceObject[]): ReadonlySet<string> {
  const [seen, shared] = [new Set<string>(), new Set<string>()];
  for (const { kind, apiVersion, namespace, value } of sources) {
    const { hosts, gateways } = fieldsOf(value['spec']);
    if (kind !== 'VirtualService' || groupOf(apiVersion) !== 'networking.istio.io') continue;
    if (!isForMesh(textsOf(gateways))) continue;
    for (const host of textsOf(hosts)) {
      const service = serviceNamed(host, namespace);
      const key = service ? `${namespace} ${service.namespace}/${service.name}` : '';
      (seen.has(key) ? shared : seen).add(key);
    }
  }
  return shared;
}

class Converter {
  readonly #reader: Reader;
  readonly #namespace: string;
  #targets: readonly Target[] = [];

  constructor(
    private readonly block: Block,
    private readonly services: Services,
    private readonly shared: ReadonlySet<string>,
  ) {
    this.#reader = new Reader(fieldsOf(block.source.value['spec']));
    this.#namespace = block.source.namespace;
  }

  convert(): void {
    const scratch = new Block(this.block.source);
    try {
      if (!this.#findTargets(scratch)) return;
      this.#http(scratch);
      this.#plain(scratch, 'tcp');
      this.#plain(scratch, 'tls');
      for (const path of this.#reader.rest()) scratch.lost(path, 'it has no form in a route');
      this.block.takeOver(scratch);
    } catch (error) {
      if (!(error instanceof Impossible)) throw error;
      this.block.lost(error.field, `${error.message}. Nothing of the object was converted. ${keep}`);
    }
  }

  /** Whether the object is for Services of the mesh. */
  #findTargets(block: Block): boolean {
    const gateways = this.#reader.texts('gateways');
    if (!isForMesh(gateways)) {
      this.block.lost(
        'gateways',
        `it is for the gateways ${gateways.join(', ')}, which stay with Istio or another ingress controller. Weft has none`,
      );
      return false;
    }
    for (const one of gateways.filter((name) => name !== 'mesh'))
      block.lost(
        'gateways',
        `the gateway ${one} stays with Istio or another ingress controller, and so does its part of the object`,
      );
    const targets: Target[] = [];
    for (const [i, host] of this.#reader.texts('hosts').entries()) {
      const service = serviceNamed(host, this.#namespace);
      if (service) targets.push(service);
      else
        block.lost(
          `hosts[${i}]`,
          `${host} is no Service of the cluster, and a route has Services as parents`,
        );
    }
    if (!this.#reader.has('hosts'))
      block.lost('hosts', `it is a delegate of another VirtualService, and an HTTPRoute has none. ${keep}`);
    if (targets.length === 0) {
      this.block.takeOver(block);
      return false;
    }
    const twice = targets.find(({ namespace, name }) =>
      this.shared.has(`${this.#namespace} ${namespace}/${name}`),
    );
    if (twice)
      throw new Impossible(
        'hosts',
        `several VirtualServices are for ${twice.namespace}/${twice.name}: Istio takes the rules of the oldest, and routes would have those of all`,
      );
    const foreign = targets.filter(({ namespace }) => namespace !== this.#namespace);
    const exportTo = this.#reader.texts('exportTo');
    const isPrivate = exportTo.length > 0 && exportTo.every((one) => one === '.' || one === this.#namespace);
    if (exportTo.length > 0 && !exportTo.includes('*') && !(isPrivate && foreign.length === targets.length))
      throw new Impossible('exportTo', 'a route of the namespace of its Service is for all clients');
    if (foreign.length > 0 && !isPrivate)
      block.differs(
        'hosts',
        `a route for a Service of another namespace is for clients of ${this.#namespace} alone`,
      );
    this.#targets = targets;
    return true;
  }

  /** The ports for which rules differ; undefined: all ports have the same rules. */
  #portsOf(named: readonly number[]): readonly (number | undefined)[] {
    if (named.length === 0) return [undefined];
    const ports = new Set(named);
    for (const { namespace, name } of this.#targets) {
      const given = this.services.get(namespace, name);
      if (!given)
        throw new Impossible(
          '',
          `a rule names a port, and Service ${namespace}/${name} was not given: add it to the directory`,
        );
      for (const { port } of given.ports) ports.add(port);
    }
    return [...ports];
  }

  #parents(port: number | undefined): Fields[] {
    return this.#targets.map(({ namespace, name }) => ({
      ...serviceTarget(name),
      ...(namespace === this.#namespace ? {} : { namespace }),
      ...(port === undefined ? {} : { port }),
    }));
  }
  #metadata(suffix: string): { readonly name: string; readonly namespace: string } {
    return { name: `${this.block.source.name}${suffix}`, namespace: this.#namespace };
  }

  #http(block: Block): void {
    const rules = this.#reader.children('http').flatMap((one, index) => ruleOf(one, index) ?? []);
    if (rules.length === 0) return;
    const ports = this.#portsOf(rules.flatMap(({ matches }) => matches.flatMap(({ port }) => port ?? [])));
    for (const port of ports) {
      const here = rules.flatMap((rule): ConvertedRule[] => {
        const matches = rule.matches.filter((one) => one.port === undefined || one.port === port);
        return rule.matches.length > 0 && matches.length === 0 ? [] : [{ ...rule, matches }];
      });
      if (here.length > 0) this.#httpRoute(block, here, port);
    }
    const faults = faultPolicy(block, rules, this.#targets, this.#metadata('-faults'));
    if (faults) block.add(faults);
  }

  #httpRoute(block: Block, rules: readonly ConvertedRule[], port: number | undefined): void {
    if (rules.length > rulesMax)
      throw new Impossible(
        'http',
        `an HTTPRoute has at most ${rulesMax} rules, and there are ${rules.length}`,
      );
    const actions = new Map<ConvertedRule, Actions>();
    const notes: { lost: boolean; field: string; message: string; index: number }[] = [];
    for (const [index, rule] of rules.entries()) {
      const context = {
        services: this.services,
        namespace: this.#namespace,
        ...(port === undefined ? {} : { port }),
      };
      const made = httpActions(
        rule.reader,
        rule.matches.map(({ match }) => match),
        context,
        {
          lost: (field, message) => notes.push({ lost: true, field, message, index }),
          differs: (field, message) => notes.push({ lost: false, field, message, index }),
        },
      );
      actions.set(rule, made);
    }
    checkOrder(rules, actions);
    const doc = block.add({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'HTTPRoute',
      metadata: this.#metadata(port === undefined ? '' : `-${port}`),
      spec: {
        parentRefs: this.#parents(port),
        rules: rules.map((rule) => {
          const { filters = [], backendRefs = [], timeouts = {}, retry } = actions.get(rule) ?? {};
          return {
            ...(rule.name === undefined ? {} : { name: rule.name }),
            ...(rule.matches.length > 0 ? { matches: rule.matches.map(({ match }) => match) } : {}),
            ...(filters.length > 0 ? { filters } : {}),
            ...(backendRefs.length > 0 ? { backendRefs } : {}),
            ...(Object.keys(timeouts).length > 0 ? { timeouts } : {}),
            ...(retry ? { retry } : {}),
          };
        }),
      },
    });
    for (const { lost, field, message, index } of notes) {
      const at = { doc, path: ['spec', 'rules', index] };
      if (lost) block.lost(field, message, at);
      else block.differs(field, message, at);
    }
  }

  #plain(block: Block, field: 'tcp' | 'tls'): void {
    const rules = this.#reader.children(field);
    for (const [index, rule] of rules.entries()) {
      const matches = rule.children('match');
      const hosts: string[] = [];
      const ports = new Set<number>();
      for (const match of matches) {
        for (const key of ['sourceLabels', 'sourceNamespace', 'sourceSubnet', 'destinationSubnets'])
          if (match.has(key)) throw new Impossible(match.pathOf(key), `a route has no ${key}`);
        if (!isForMesh(match.texts('gateways')))
          throw new Impossible(match.path, 'a match for gateways alone has no form in a route');
        hosts.push(...match.texts('sniHosts'));
        const port = match.number('port');
        if (port !== undefined) ports.add(port);
        else if (matches.length > 1) throw new Impossible(match.path, 'of several matches each needs a port');
      }
      if (field === 'tcp' && rules.length > 1 && ports.size === 0)
        throw new Impossible(rule.path, 'of several rules each needs a port');
      const context = { services: this.services, namespace: this.#namespace };
      for (const port of ports.size > 0 ? ports : [undefined])
        block.add({
          apiVersion: field === 'tcp' ? 'gateway.networking.k8s.io/v1alpha2' : 'gateway.networking.k8s.io/v1',
          kind: field === 'tcp' ? 'TCPRoute' : 'TLSRoute',
          metadata: this.#metadata(
            `-${field}${rules.length > 1 || ports.size > 1 ? `-${index}${port === undefined ? '' : `-${port}`}` : ''}`,
          ),
          spec: {
            parentRefs: this.#parents(port),
            ...(hosts.length > 0 ? { hostnames: [...new Set(hosts)] } : {}),
            rules: [
              {
                backendRefs: rule.children('route').map((one) => {
                  const weight = one.number('weight');
                  return {
                    ...backendOf(one.child('destination'), {
                      ...context,
                      ...(port === undefined ? {} : { port }),
                    }),
                    ...(weight === undefined ? {} : { weight }),
                  };
                }),
              },
            ],
          },
        });
    }
  }
}

/** @param shared as sharedHosts() gives them */
export function convertVirtualService(block: Block, services: Services, shared: ReadonlySet<string>): void {
  new Converter(block, services, shared).convert();
}
