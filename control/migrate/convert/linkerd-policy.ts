/**
 * Linkerd's Servers, with what authorizes clients of them, as AccessPolicies. A Server closes one port of its pods to everybody who is not
 * authorized. An ALLOW of Weft closes all ports of its pods, so that a rule for the other ports stands beside it.
 */
import type { PodObject } from '../../objects/objects.js';
import { labelsOf, namespaceOf, selects } from '../../../src/model/labels.js';
import { templatePod } from '../../pod-templates.js';
import { linkerdErrors } from '../linkerd/schemas.js';
import { fieldsOf, groupOf, listOf, textOf, type Fields, type SourceObject } from '../load.js';
import type { Block } from './block.js';
import {
  clientsOfAuthorizationPolicy,
  clientsOfServerAuthorization,
  type Clients,
} from './linkerd-clients.js';

const policyGroup = 'policy.linkerd.io';
export const defaultPolicyKey = 'config.linkerd.io/default-inbound-policy';

type Labels = Readonly<Record<string, string>>;
const labelsIn = (value: unknown): Labels =>
  Object.fromEntries(
    Object.entries(fieldsOf(value)).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
/** Whether a pod may have the labels of both selectors. */
const mayOverlap = (a: Labels, b: Labels): boolean =>
  Object.entries(a).every(([key, value]) => b[key] === undefined || b[key] === value);

interface Server {
  readonly source: SourceObject;
  readonly labels: Labels;
  readonly port: number | string;
}

export const accessPolicy = (name: string, namespace: string, spec: Fields): Fields => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AccessPolicy',
  metadata: { name, namespace },
  spec,
});

export class LinkerdPolicies {
  readonly #servers: readonly Server[];
  readonly #pods: readonly PodObject[];
  private readonly sources: readonly SourceObject[];

  constructor(
    sources: readonly SourceObject[],
    private readonly clusterNetworks: readonly string[],
  ) {
    // What of an authorization cannot be read might restrict it: it authorizes nobody.
    this.sources = sources.filter(
      ({ apiVersion, kind, value }) =>
        groupOf(apiVersion) !== policyGroup ||
        kind === 'Server' ||
        linkerdErrors(`${policyGroup}/${kind}`, value['spec'] ?? {})?.length === 0,
    );
    this.#servers = sources
      .filter((one) => one.kind === 'Server' && groupOf(one.apiVersion) === policyGroup)
      .map((source) => {
        const spec = fieldsOf(source.value['spec']);
        const { port } = spec;
        return {
          source,
          labels: labelsIn(fieldsOf(spec['podSelector'])['matchLabels']),
          port: typeof port === 'number' ? port : (textOf(port) ?? ''),
        };
      });
    this.#pods = sources.flatMap((one, i) =>
      one.kind === 'Pod' && one.object?.kind === 'Pod' ? [one.object] : (templatePod(one.value, i + 1) ?? []),
    );
  }

  /** Servers of a namespace by a reference. */
  server(
    namespace: string,
    name: string,
  ): { readonly labels: Labels; readonly port: number | undefined } | undefined {
    const found = this.#servers.find(({ source }) => source.namespace === namespace && source.name === name);
    return found && { labels: found.labels, port: this.#portOf(found) };
  }

  #portOf({ source, port, labels }: Server): number | undefined {
    if (typeof port === 'number') return port;
    if (/^\d+$/.test(port)) return Number(port);
    const numbers = new Set(
      this.#pods
        .filter(
          (pod) =>
            namespaceOf(pod) === source.namespace &&
            (Object.keys(labels).length === 0 || selects(labels, labelsOf(pod))),
        )
        .flatMap(({ spec }) => spec.containers ?? [])
        .flatMap(({ ports = [] }) => ports.flatMap((one) => (one.name === port ? [one.containerPort] : []))),
    );
    return numbers.size === 1 ? [...numbers][0] : undefined;
  }

  #find(kind: string, namespace: string, name: string): SourceObject | undefined {
    return this.sources.find(
      (one) =>
        one.kind === kind &&
        groupOf(one.apiVersion) === policyGroup &&
        one.namespace === namespace &&
        one.name === name,
    );
  }

  /** Objects that authorize clients of a Server. */
  #authorizations({ source }: Server): readonly SourceObject[] {
    const labels = labelsIn(fieldsOf(source.value['metadata'])['labels']);
    return this.sources.filter((one) => {
      if (groupOf(one.apiVersion) !== policyGroup || one.namespace !== source.namespace) return false;
      const spec = fieldsOf(one.value['spec']);
      if (one.kind === 'ServerAuthorization') {
        const server = fieldsOf(spec['server']);
        const selector = fieldsOf(server['selector']);
        // An expression is evaluated by nobody here: it authorizes nothing.
        if (listOf(selector['matchExpressions']).length > 0) return false;
        const wanted = labelsIn(selector['matchLabels']);
        return (
          server['name'] === source.name ||
          (server['selector'] !== undefined &&
            Object.entries(wanted).every(([key, value]) => labels[key] === value))
        );
      }
      if (one.kind !== 'AuthorizationPolicy') return false;
      const { kind, name } = fieldsOf(spec['targetRef']);
      return (
        (kind === 'Server' && name === source.name) || (kind === 'Namespace' && name === source.namespace)
      );
    });
  }

  /** Whom a policy by name allows, as in Linkerd's accessPolicy and default-inbound-policy. Empty: nobody. */
  #named(policy: string, say: (message: string) => void): Clients {
    if (policy === 'all-unauthenticated') return undefined;
    if (policy === 'all-authenticated') return [{ identities: ['*'] }];
    if (policy === 'cluster-authenticated' || policy === 'cluster-unauthenticated') {
      if (this.clusterNetworks.length > 0)
        return [
          {
            ...(policy === 'cluster-authenticated' ? { identities: ['*'] } : {}),
            cidrs: [...this.clusterNetworks],
          },
        ];
      say(`${policy}: Linkerd's clusterNetworks are not given: closed: pass them with --cluster-networks`);
      return [];
    }
    if (policy !== 'deny') say(`${policy} is unknown: closed`);
    return [];
  }

  /** Whom pods of a namespace admit at ports without a Server. */
  #defaultOf(namespace: string): string {
    const object = this.sources.find(
      (one) => one.kind === 'Namespace' && one.apiVersion === 'v1' && one.name === namespace,
    );
    const annotations = fieldsOf(fieldsOf(object?.value['metadata'])['annotations']);
    return textOf(annotations[defaultPolicyKey]) ?? 'all-unauthenticated';
  }

  /** Ports of other Servers that pods of the selector may have, which no rule about other ports may open. */
  #closedPorts(
    namespace: string,
    labels: Labels,
  ): { readonly ports: number[]; readonly isComplete: boolean } {
    const others = this.#servers.filter(
      (one) => one.source.namespace === namespace && mayOverlap(one.labels, labels),
    );
    const ports = others.map((one) => this.#portOf(one));
    const known = ports.filter((port) => port !== undefined);
    return { ports: [...new Set(known)].sort((a, b) => a - b), isComplete: known.length === ports.length };
  }

  convertServer(block: Block): void {
    const { namespace, name, value } = block.source;
    const server = this.#servers.find(({ source }) => source === block.source);
    if (!server) return;
    const spec = fieldsOf(value['spec']);
    const selector = fieldsOf(spec['podSelector']);
    const { labels } = server;
    const where = Object.keys(labels).length > 0 ? { selector: { matchLabels: labels } } : {};
    if (spec['externalWorkloadSelector'] !== undefined && spec['podSelector'] === undefined)
      return block.lost(
        'externalWorkloadSelector',
        'a Workload takes the place of an ExternalWorkload, and an AccessPolicy selects it by its labels',
      );
    const close = (field: string, message: string): void => {
      const doc = block.add(
        accessPolicy(`server-${name}`, namespace, { action: 'ALLOW', ...where, rules: [] }),
      );
      block.lost(field, message, { doc, path: ['spec', 'rules'] });
    };
    if (listOf(selector['matchExpressions']).length > 0)
      return close(
        'podSelector.matchExpressions',
        'a selector has only matchLabels: closed: all ports of the pods that matchLabels selects are closed',
      );
    const port = this.#portOf(server);
    const closedPorts = this.#closedPorts(namespace, labels);
    if (port === undefined || !closedPorts.isComplete)
      return close(
        'port',
        `the number of the port ${String(server.port)} is unknown, because its pods were not given: closed: all ports of the pods are closed; add the Deployment to the directory`,
      );
    const lost: { field: string; message: string }[] = [];
    const from: (readonly Fields[])[] = [];
    let isOpen = false;
    const allow = (clients: Clients): void => {
      if (clients === undefined) isOpen = true;
      else if (clients.length > 0) from.push(clients);
    };
    for (const one of this.#authorizations(server)) {
      // The object's own block says what of it has no form.
      allow(this.clientsOf(one, () => undefined));
    }
    const policy = textOf(spec['accessPolicy']) ?? 'deny';
    const isAudit = policy === 'audit';
    if (policy !== 'deny' && !isAudit)
      allow(this.#named(policy, (message) => lost.push({ field: 'accessPolicy', message })));
    const own = { ports: [port] };
    const entries = from.flat();
    const rules: Fields[] = isOpen
      ? [{ to: [own] }]
      : entries.length > 0
        ? [{ from: entries, to: [own] }]
        : [];
    // A pod's own default, which may be stronger than its namespace's.
    const isStronger = this.#pods.some(
      (pod) =>
        namespaceOf(pod) === namespace &&
        pod.metadata.annotations?.[defaultPolicyKey] !== undefined &&
        mayOverlap(labels, labelsOf(pod)),
    );
    const others = isStronger ? [] : this.#named(this.#defaultOf(namespace), () => undefined);
    const otherPorts = { to: [{ notPorts: closedPorts.ports }] };
    if (others === undefined) rules.push(otherPorts);
    else if (others.length > 0) rules.push({ from: others, ...otherPorts });
    const doc = block.add(
      accessPolicy(`server-${name}`, namespace, {
        action: 'ALLOW',
        ...(isAudit ? { mode: 'audit' } : {}),
        ...where,
        rules,
      }),
    );
    for (const { field, message } of lost) block.lost(field, message, { doc, path: ['spec', 'rules'] });
    const shared = closedPorts.ports.filter((one) => one !== port);
    if (shared.length > 0)
      block.differs(
        'podSelector',
        `ports ${shared.join(', ')} of other Servers, whose pods may be the same, stay closed here`,
        { doc, path: ['spec', 'rules'] },
      );
    if (spec['proxyProtocol'] !== undefined)
      block.differs('proxyProtocol', 'the appProtocol of the Service port says it', { doc, path: ['spec'] });
  }

  /** Whom an authorization allows. */
  clientsOf(source: SourceObject, say: (field: string, message: string) => void): Clients {
    return source.kind === 'ServerAuthorization'
      ? clientsOfServerAuthorization(source, say)
      : clientsOfAuthorizationPolicy(source, (...name) => this.#find(...name), say);
  }

  /** An object that authorizes clients: it is in the policies of its Servers, and its block says what of it has no form. */
  convertAuthorization(block: Block): void {
    const { source } = block;
    this.clientsOf(source, (field, message) => block.lost(field, message));
    const servers = this.#servers.filter((server) => this.#authorizations(server).includes(source));
    const { kind, name } = fieldsOf(fieldsOf(source.value['spec'])['targetRef']);
    if (source.kind === 'AuthorizationPolicy' && (kind === 'HTTPRoute' || kind === 'GRPCRoute'))
      block.lost(
        'targetRef',
        `it allows requests of the ${kind} ${String(name)} alone: closed: whom only this allows is denied. paths and methods of an AccessPolicy at a Service with a waypoint allow single requests`,
      );
    else if (servers.length === 0)
      block.lost('', 'no Server that was given is its target, so that it allows nothing');
    else
      block.info(
        `it is in ${servers.map((one) => `AccessPolicy ${source.namespace}/server-${one.source.name}`).join(', ')}`,
      );
  }

  /**
   * The default of a namespace or of the pods of a template.
   * @param labels of the pods; undefined: all of the namespace
   */
  convertDefault(block: Block, policy: string, namespace: string, labels: Labels | undefined): void {
    if (policy === 'all-unauthenticated') {
      if (labels && this.#defaultOf(namespace) !== policy)
        block.lost(
          defaultPolicyKey,
          'an AccessPolicy of the namespace closes the pods, and none opens them again: closed',
        );
      return;
    }
    const notes: string[] = [];
    const clients = policy === 'audit' ? [] : this.#named(policy, (message) => notes.push(message));
    const { ports, isComplete } = this.#closedPorts(namespace, labels ?? {});
    const to = ports.length > 0 ? { to: [{ notPorts: ports }] } : {};
    const rules =
      clients === undefined || clients.length === 0 || !isComplete ? [] : [{ from: clients, ...to }];
    const where = labels ? { selector: { matchLabels: labels } } : {};
    const name = labels ? `default-inbound-policy-${block.source.name}` : 'default-inbound-policy';
    const doc = block.add(
      accessPolicy(name, namespace, {
        action: 'ALLOW',
        ...(policy === 'audit' ? { mode: 'audit' } : {}),
        ...where,
        rules,
      }),
    );
    for (const message of notes) block.lost(defaultPolicyKey, message, { doc, path: ['spec', 'rules'] });
    if (!isComplete)
      block.lost(defaultPolicyKey, 'a Server has a port of unknown number: closed', {
        doc,
        path: ['spec', 'rules'],
      });
    if (rules.length > 0 && ports.length > 0)
      block.differs(
        defaultPolicyKey,
        `ports ${ports.join(', ')} are for their Servers alone, also on pods without such a Server`,
        { doc, path: ['spec', 'rules'] },
      );
  }
}
