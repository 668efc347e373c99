/**
 * The policy of the pods behind a Service whose requests need tokens. The waypoint validates tokens for requests to the Service; this policy
 * refuses what did not pass that: connections that no waypoint reads, and requests by another name, address or route whose tokens nobody has
 * validated. Pure.
 */
import { namespaceOf, labelsOf, selects, type Labels } from '../../src/model/labels.js';
import type { JwtLocation } from '../../src/discovery/gen/weft.js';
import {
  emptyHttpMatch,
  emptyMatch,
  type AuthorizationPolicy,
  type ClaimMatch,
  type HttpMatch,
  type PolicyKey,
  type StringMatch,
} from '../../src/model/policy.js';
import type { ServiceObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';
import { targetPortOf } from './container-ports.js';
import type { JwtTemplate } from './jwt-filter.js';
import { tcpPorts } from './service.js';
import { policiesOfGateway, policiesOfService } from './traffic-policy-targets.js';
import type { CompiledTrafficPolicy } from './traffic-policy.js';
import { podOfWorkload } from './workload.js';

type GuardLookup = Pick<
  Registry,
  'policiesTargeting' | 'waypointOf' | 'indexes' | 'hasAuthentication' | 'services'
>;
type Guarded = CompiledTrafficPolicy & {
  readonly authentication: NonNullable<CompiledTrafficPolicy['authentication']>;
};
type Conditions = Partial<HttpMatch>;

const isGuarded = (one: CompiledTrafficPolicy): one is Guarded => one.authentication !== undefined;

/** The AuthenticationPolicy in force for each port of a Service: of the port, else of the Service, else of the waypoint's Gateway. */
export function authenticationOf(
  service: ServiceObject,
  registry: GuardLookup,
): ReadonlyMap<number, Guarded> {
  const found = new Map<number, Guarded>();
  if (!registry.hasAuthentication) return found;
  const targeting = registry.policiesTargeting('Service', namespaceOf(service), service.metadata.name);
  const waypoint = registry.waypointOf(service);
  const ofGateway = waypoint
    ? policiesOfGateway(registry.policiesTargeting('Gateway', waypoint.namespace, waypoint.name)).inForce
    : [];
  for (const { port } of tcpPorts(service)) {
    const levels = [
      policiesOfService(targeting, service, port).inForce,
      policiesOfService(targeting, service, undefined).inForce,
      ofGateway,
    ].map((policies) => policies.find(isGuarded));
    const governing = levels.find((one) => one?.authentication === 'closed') ?? levels.find((one) => one);
    if (governing) found.set(port, governing);
  }
  return found;
}

/** The name as a resource: no object has a name with a slash. */
const keyOf = (service: ServiceObject, { origin }: Guarded): PolicyKey =>
  `${namespaceOf(service)}/${origin.replaceAll(' ', '/')}@${service.metadata.name}` as PolicyKey;

/** Ports of the pods behind a port of the Service. */
function podPorts(
  service: ServiceObject,
  port: ReturnType<typeof tcpPorts>[number],
  registry: GuardLookup,
): number[] {
  if (typeof port.targetPort !== 'string') return [port.targetPort ?? port.port];
  const namespace = namespaceOf(service);
  const pods = [
    ...registry.indexes.Pod.in(namespace),
    ...registry.indexes.Workload.in(namespace).map(podOfWorkload),
  ].filter((pod) => selects(service.spec.selector, labelsOf(pod)));
  return [...new Set(pods.map((pod) => targetPortOf(pod, port)))].filter((one) => one > 0);
}

/** The policies for the pods behind a Service. */
export function tokenGuards(service: ServiceObject, registry: GuardLookup): AuthorizationPolicy[] {
  const byPolicy = new Map<Guarded, Set<number>>();
  const governing = authenticationOf(service, registry);
  for (const port of governing.size > 0 ? tcpPorts(service) : []) {
    const policy = governing.get(port.port);
    if (!policy) continue;
    const ports = byPolicy.get(policy) ?? new Set();
    byPolicy.set(policy, ports);
    for (const one of podPorts(service, port, registry)) ports.add(one);
  }
  return [...byPolicy].flatMap(([policy, ports]): AuthorizationPolicy[] => {
    // A policy without ports would be for all of them.
    if (ports.size === 0) return [];
    const key = keyOf(service, policy);
    const namespace = namespaceOf(service);
    const destinationPorts = [...ports].sort((a, b) => a - b);
    const conditions = policy.authentication === 'closed' ? [undefined] : refused(policy.authentication);
    return [
      {
        key,
        name: key.slice(namespace.length + 1),
        namespace,
        scope: 'workload',
        services: [],
        action: 'deny',
        dryRun: false,
        rules: conditions.map((http) => ({
          clauses: [
            {
              matches: [
                {
                  ...emptyMatch,
                  destinationPorts,
                  ...(http ? { http: { ...emptyHttpMatch, ...http } } : {}),
                },
              ],
            },
          ],
        })),
      },
    ];
  });
}

/** What the pods of a namespace reference. */
export interface NamespaceGuards {
  /** Keys of the policies for a pod. */
  of(labels: Labels): string[];
}
export function namespaceGuards(namespace: string, registry: GuardLookup): NamespaceGuards {
  const guards = (registry.hasAuthentication ? registry.services(namespace) : []).flatMap((service) => {
    const keys = new Set([...authenticationOf(service, registry).values()].map((one) => keyOf(service, one)));
    return keys.size === 0 ? [] : [{ selector: service.spec.selector, keys: [...keys] }];
  });
  return {
    of: (labels) =>
      guards
        .filter(({ selector }) => selects(selector, labels))
        .flatMap(({ keys }): string[] => keys)
        .sort(),
  };
}

const exact = (value: string): StringMatch => ({ kind: 'exact', value });
const issuerClaim = (issuers: readonly string[]): ClaimMatch => ({
  path: ['iss'],
  values: issuers.map(exact),
  negated: false,
});
/** Requests without a valid token of one of these issuers. Without issuers: without any. */
export const withoutToken = (issuers: readonly string[]): ClaimMatch => ({
  ...(issuers.length > 0 ? issuerClaim(issuers) : { path: ['iss'], values: [{ kind: 'presence' }] }),
  negated: true,
});

/** Requests that the policy refuses. Where no waypoint reads requests, each of them stands for every connection. */
function refused({ issuers, required }: JwtTemplate): Conditions[] {
  const without = withoutToken(issuers.map(({ issuer }) => issuer));
  return [
    ...(required
      ? [{ claims: [without] }]
      : unverified(issuers).map((one) => ({ ...one, claims: [without] }))),
    // A token that another policy has accepted may be for another audience.
    ...issuers
      .filter(({ audiences }) => audiences.length > 0)
      .map(({ issuer, audiences }) => ({
        claims: [issuerClaim([issuer]), { path: ['aud'], values: audiences.map(exact), negated: true }],
      })),
  ];
}

/** Requests with something where a token, or what is copied from one, would be. */
export function unverified(
  issuers: readonly Pick<JwtTemplate['issuers'][number], 'locations' | 'claimHeaders' | 'payloadHeader'>[],
): Conditions[] {
  const places = new Map<string, Conditions>();
  for (const { locations, claimHeaders, payloadHeader } of issuers) {
    for (const location of locations) places.set(JSON.stringify(location), atPlace(location));
    // Only a valid token sets these headers, and endpoints believe them.
    for (const header of [...claimHeaders.map((one) => one.header), payloadHeader].filter(
      (one) => one !== '',
    ))
      places.set(header, present(header));
  }
  return [...places.values()];
}

const present = (name: string): Conditions => ({
  headers: [{ name, values: [{ kind: 'presence' }], negated: false }],
});
const escaped = (text: string): string =>
  text.replace(/[^A-Za-z0-9]/g, (one) => `\\x{${one.codePointAt(0)?.toString(16)}}`);

function atPlace({ place }: JwtLocation): Conditions {
  switch (place?.$case) {
    case 'header': {
      const { name, prefix } = place.value;
      if (prefix === '') return present(name.toLowerCase());
      // Endpoints differ in whether they distinguish case.
      const value = `(?is)\\s*${escaped(prefix.trim())}.*`;
      return { headers: [{ name: name.toLowerCase(), values: [{ kind: 'regex', value }], negated: false }] };
    }
    case 'query':
      return { parameters: [place.value] };
    case 'cookie': {
      const value = `(?s)(.*;\\s*)?${escaped(place.value)}=.*`;
      return { headers: [{ name: 'cookie', values: [{ kind: 'regex', value }], negated: false }] };
    }
    case undefined:
      return {};
  }
}
