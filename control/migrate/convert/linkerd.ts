/** Linkerd's objects, and its annotations of Services, as those of the Gateway API and of Weft. */
import { fieldsOf, groupOf, listOf, textOf, type Fields, type SourceObject } from '../load.js';
import { linkerdErrors } from '../linkerd/schemas.js';
import { settingFindings } from '../mesh-settings.js';
import type { Block } from './block.js';
import { accessPolicy, defaultPolicyKey, LinkerdPolicies } from './linkerd-policy.js';
import { convertLinkerdRoute, convertServiceProfile } from './linkerd-routes.js';
import { gatewayDuration, serviceTarget, type Services } from './services.js';

const trafficPolicy = (name: string, namespace: string, spec: Fields): Fields => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'TrafficPolicy',
  metadata: { name, namespace },
  spec,
});
const annotationsOf = (value: Fields): Fields => fieldsOf(fieldsOf(value['metadata'])['annotations']);
/** Kinds of which an invalid one closes. */
const closing: ReadonlySet<string> = new Set(['Server']);

export class LinkerdConverter {
  readonly #policies: LinkerdPolicies;

  constructor(
    sources: readonly SourceObject[],
    private readonly services: Services,
    clusterNetworks: readonly string[],
  ) {
    this.#policies = new LinkerdPolicies(sources, clusterNetworks);
  }

  convert(block: Block): void {
    const { kind, apiVersion, value, namespace, name } = block.source;
    const group = groupOf(apiVersion);
    const errors = linkerdErrors(`${group}/${kind}`, value['spec'] ?? {});
    if (!errors) return block.lost('', `convert does not know the kind ${kind} of ${apiVersion}`);
    if (errors.length > 0) {
      if (closing.has(kind))
        block.add(accessPolicy(`server-${name}`, namespace, { action: 'ALLOW', rules: [] }));
      for (const error of errors)
        block.lost(
          '',
          `${error}. The object was not converted${closing.has(kind) ? ': closed: all pods of the namespace are closed' : ''}`,
        );
      return;
    }
    if (kind === 'ServiceProfile') convertServiceProfile(block, this.services);
    else if (kind === 'Server') this.#policies.convertServer(block);
    else if (kind === 'ServerAuthorization' || kind === 'AuthorizationPolicy')
      this.#policies.convertAuthorization(block);
    else if (kind === 'MeshTLSAuthentication' || kind === 'NetworkAuthentication')
      block.info('it is in the AccessPolicies of the Servers whose AuthorizationPolicies name it');
    else if (kind === 'HTTPLocalRateLimitPolicy') this.#rateLimits(block);
    else if (kind === 'HTTPRoute') {
      convertLinkerdRoute(block);
      this.annotations(block);
    } else if (kind === 'EgressNetwork')
      block.lost(
        '',
        'an ExternalService per destination, and outboundUnknown of MeshSettings, take its place',
      );
    else block.lost('', 'a machine runs an agent of Weft, and a Workload takes its place (docs/external.md)');
  }

  /** The default of a Namespace for ports without a Server. */
  namespace(block: Block): void {
    const policy = textOf(annotationsOf(block.source.value)[defaultPolicyKey]);
    if (policy !== undefined) this.#policies.convertDefault(block, policy, block.source.name, undefined);
    this.annotations(
      block,
      /default-inbound-policy|linkerd\.io\/inject|istio-injection|istio\.io\/(rev|dataplane-mode|use-waypoint)/,
    );
  }

  /** Annotations of an object that makes pods. */
  workload(block: Block, metadata: Fields): void {
    const policy = textOf(fieldsOf(metadata['annotations'])[defaultPolicyKey]);
    const labels = Object.fromEntries(
      Object.entries(fieldsOf(metadata['labels'])).filter(
        (entry): entry is [string, string] => typeof entry[1] === 'string',
      ),
    );
    if (policy !== undefined) {
      if (Object.keys(labels).length > 0)
        this.#policies.convertDefault(block, policy, block.source.namespace, labels);
      else block.lost(defaultPolicyKey, 'the pods have no labels by which an AccessPolicy could select them');
    }
    this.annotations(block, /default-inbound-policy/);
  }

  /** Notes the labels and annotations that no document stands for. @param written those that have one */
  annotations(block: Block, written = /^$/): void {
    for (const { result, field = '', message, instead } of settingFindings(block.source))
      if (result === 'missing' && !written.test(field))
        block.lost(field, `${message}${instead === undefined ? '' : `; instead: ${instead}`}`);
  }

  #rateLimits(block: Block): void {
    const { namespace, name, value } = block.source;
    const spec = fieldsOf(value['spec']);
    const target = textOf(fieldsOf(spec['targetRef'])['name']) ?? '';
    const server = this.#policies.server(namespace, target);
    const targets = server
      ? this.services
          .in(namespace)
          .filter(({ selector }) => {
            const wanted = Object.entries(server.labels);
            return wanted.length > 0 && wanted.every(([key, label]) => selector[key] === label);
          })
          .map((one) => serviceTarget(one.name))
      : [];
    if (targets.length === 0)
      return block.lost(
        'targetRef',
        `no Service that was given selects the pods of the Server ${namespace}/${target}: requests are limited at Services`,
      );
    const perSecond = (limit: unknown): number | undefined => {
      const { requestsPerSecond } = fieldsOf(limit);
      return typeof requestsPerSecond === 'number' && requestsPerSecond > 0 ? requestsPerSecond : undefined;
    };
    const [total, identity] = [perSecond(spec['total']), perSecond(spec['identity'])];
    const common = total === undefined ? [] : [{ name: 'total', requests: total, per: '1s' }];
    const perIdentity = (requests: number): Fields => ({
      name: 'identity',
      keys: [{ clientIdentity: {} }],
      requests,
      per: '1s',
    });
    const limits = [...common, ...(identity === undefined ? [] : [perIdentity(identity)])];
    if (limits.length > 0)
      block.add(trafficPolicy(name, namespace, { targetRefs: targets, rateLimits: limits }));
    for (const [i, one] of listOf(spec['overrides']).entries()) {
      const requests = perSecond(one);
      const from = listOf(one['clientRefs']).flatMap((ref): Fields[] => {
        if (ref['kind'] !== 'ServiceAccount') {
          block.lost(`overrides[${i}].clientRefs`, `${String(ref['kind'])} is no service account`);
          return [];
        }
        return [{ namespace: textOf(ref['namespace']) ?? namespace, serviceAccount: ref['name'] }];
      });
      if (requests === undefined || from.length === 0) continue;
      const doc = block.add(
        trafficPolicy(`${name}-override-${i}`, namespace, {
          targetRefs: targets,
          from,
          rateLimits: [...common, perIdentity(requests)],
        }),
      );
      if (common.length > 0)
        block.differs(`overrides[${i}]`, 'the total of these clients is counted apart', {
          doc,
          path: ['spec', 'rateLimits'],
        });
    }
  }

  /** Annotations of a Service: retries, timeouts and failure accrual. */
  service(block: Block): void {
    const { namespace, name, value } = block.source;
    const given = annotationsOf(value);
    const text = (key: string): string | undefined => textOf(given[key]);
    const duration = (key: string): string | undefined => {
      const found = text(key);
      const made = found === undefined ? undefined : gatewayDuration(found);
      if (found !== undefined && made === undefined)
        block.lost(key, `${found} is no duration in milliseconds`);
      return made;
    };
    const request = duration('timeout.linkerd.io/request');
    const idle = duration('timeout.linkerd.io/idle');
    const retry = retryOf(block, text, duration);
    const outliers = outliersOf(block, text, duration);
    const timeouts = {
      ...(request === undefined ? {} : { request }),
      ...(idle === undefined ? {} : { streamIdle: idle }),
    };
    if (text('timeout.linkerd.io/response') !== undefined)
      block.lost('timeout.linkerd.io/response', 'Weft has a timeout of the whole request, and of each try');
    const sections = {
      ...(retry ? { retry } : {}),
      ...(Object.keys(timeouts).length > 0 ? { timeouts } : {}),
      ...(outliers ? { outlierDetection: outliers } : {}),
    };
    if (Object.keys(sections).length > 0)
      block.add(
        trafficPolicy(`${name}-linkerd`, namespace, { targetRefs: [serviceTarget(name)], ...sections }),
      );
    this.annotations(block, /^(retry|timeout|balancer)\.linkerd\.io\//);
  }
}

type Get = (key: string) => string | undefined;

function retryOf(block: Block, text: Get, duration: Get): Fields | undefined {
  const [http, grpc] = [text('retry.linkerd.io/http'), text('retry.linkerd.io/grpc')];
  if (http === undefined && grpc === undefined) return undefined;
  const conditions: string[] = [];
  const statusCodes: number[] = [];
  for (const one of (http ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')) {
    const [, first, last = first] = /^([45]\d\d)(?:-([45]\d\d))?$/.exec(one) ?? [];
    if (one === '5xx' || one === 'gateway-error') conditions.push(one);
    else if (first !== undefined)
      for (let code = Number(first); code <= Number(last) && statusCodes.length < 100; code++)
        statusCodes.push(code);
    else block.lost('retry.linkerd.io/http', `${one} is unknown`);
  }
  if (statusCodes.length > 0) conditions.push('retriable-status-codes');
  for (const one of (grpc ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== ''))
    if (['cancelled', 'deadline-exceeded', 'internal', 'resource-exhausted', 'unavailable'].includes(one))
      conditions.push(one);
    else block.lost('retry.linkerd.io/grpc', `${one} is unknown`);
  if (conditions.length === 0) return undefined;
  block.differs(
    'retry.linkerd.io',
    'Linkerd sends requests of any method again, Weft those of unsafeMethods and of idempotent ones',
  );
  const limit = text('retry.linkerd.io/limit');
  const perTry = duration('retry.linkerd.io/timeout');
  return {
    conditions,
    ...(statusCodes.length > 0 ? { statusCodes } : {}),
    attempts: limit !== undefined && /^\d+$/.test(limit) ? Number(limit) : 1,
    ...(perTry === undefined ? {} : { perTryTimeout: perTry }),
    ...(grpc === undefined ? {} : { unsafeMethods: ['POST'] }),
  };
}

function outliersOf(block: Block, text: Get, duration: Get): Fields | undefined {
  const key = 'balancer.linkerd.io/failure-accrual';
  const mode = text(key);
  if (mode === undefined) return undefined;
  if (mode !== 'consecutive') {
    block.lost(key, `${mode} is unknown`);
    return undefined;
  }
  if (text(`${key}-consecutive-jitter-ratio`) !== undefined)
    block.lost(`${key}-consecutive-jitter-ratio`, 'ejectionJitter of a TrafficPolicy is a time');
  const failures = text(`${key}-consecutive-max-failures`);
  return {
    consecutive5xx: failures !== undefined && /^\d+$/.test(failures) ? Number(failures) : 7,
    baseEjectionTime: duration(`${key}-consecutive-min-penalty`) ?? '1s',
    maxEjectionTime: duration(`${key}-consecutive-max-penalty`) ?? '1m',
  };
}
