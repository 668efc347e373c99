/** Objects that are not enforced, for a registry of files, whose objects have no conditions. Pure. */
import type { Compiler } from '../compile/compile.js';
import { keyText, objectKey } from '../objects/object-key.js';
import {
  enforcedType,
  istioKinds,
  routeKinds,
  smiKinds,
  type MeshObject,
  type RouteObject,
} from '../objects/objects.js';
import type { TrafficPolicyObject } from '../objects/traffic-policy.js';
import { missingDecisionServices } from './decision-services.js';
import { remarkText } from '../dialects/remarks.js';
import type { ConditionUpdate } from '../status/conditions.js';
import { backendConditions, type BackendPolicyObject } from '../status/backend-policy.js';
import type { TargetingPolicy } from '../compile/traffic-policy-targets.js';
import { policyEnforcement } from '../status/policy.js';
import { notFetched } from '../registry/key-sets.js';
import { keyProblems, policyConditions, targetConditions } from '../status/traffic-policy.js';
import { securityEnforcement } from '../dialects/istio/security-status.js';
import { virtualServiceEnforcement } from '../dialects/istio/virtual-service-status.js';
import { splitEnforcement } from '../dialects/smi/traffic-split.js';
import { targetEnforcement } from '../dialects/smi/traffic-target.js';
import { routeParents } from '../status/route.js';
import { waypointBound } from '../status/service.js';

const nameOf = (object: MeshObject): string => keyText(objectKey(object));

export interface Unenforced {
  /** One sentence. */
  readonly what: string;
  /** Whether the object is valid as written, and only lacks a waypoint that enforces it, or what `help` says. */
  readonly isAccepted: boolean;
  readonly help?: string;
}

/** Message → type of the route's conditions that would be `False`. Unreadable rules are left out: they are reported as errors of the file. */
function routeProblems(route: RouteObject, compiler: Compiler): ReadonlyMap<string, string> {
  const compiled = compiler.route(route);
  const { invalid: _reported, ...readable } = compiled;
  const problems = new Map<string, string>();
  for (const { conditions = [] } of routeParents({ ...route, status: {} }, readable, compiler, ''))
    for (const { type, status, message = '' } of conditions)
      if (status === 'False' && !problems.has(message)) problems.set(message, type);
  return problems;
}

/** The conditions of a policy. A policy that cannot be read is reported as an error of its file. */
const trafficPolicyProblems = (policy: TargetingPolicy, compiler: Compiler): readonly ConditionUpdate[] =>
  policy.invalid === undefined ? policyConditions(policy, targetConditions(policy, compiler)) : [];

/** Decision services that do not exist: nobody decides about requests. */
function* decisionProblems(policy: TrafficPolicyObject, compiler: Compiler): Generator<Unenforced> {
  for (const { what, help } of missingDecisionServices(policy, compiler))
    yield { what: `${nameOf(policy)}: ${what}`, isAccepted: true, help };
}

const backendProblems = (policy: BackendPolicyObject, compiler: Compiler): readonly ConditionUpdate[] =>
  policy.invalid === undefined
    ? policy.spec.targetRefs.flatMap((ref) => backendConditions(policy, ref, compiler) ?? [])
    : [];

/** Services that no client reaches because their waypoint does not serve them. One sentence each. */
function* unboundServices(compiler: Compiler): Generator<string> {
  for (const service of compiler.ofKind('Service')) {
    const bound = waypointBound(service, compiler);
    if (bound?.status === 'False') yield bound.message;
  }
}

/** Policies about requests that no waypoint enforces, TrafficPolicies that are not in force at a target, and routes without an accepted parent, without a backend, or without a waypoint. */
export function* unenforcedObjects(compiler: Compiler): Generator<Unenforced> {
  for (const policy of compiler.ofKind('AccessPolicy')) {
    yield* unenforcedBy(policy, policyEnforcement(policy, compiler));
  }
  for (const kind of ['AuthorizationPolicy', 'RequestAuthentication'] as const)
    for (const policy of compiler.ofKind(kind))
      if (policy.invalid === undefined) yield* unenforcedBy(policy, securityEnforcement(policy, compiler));
  for (const one of compiler.ofKind('VirtualService'))
    if (one.invalid === undefined && compiler.problemOf(one) === undefined)
      yield* unenforcedBy(one, virtualServiceEnforcement(one, { mesh: compiler }));
  for (const kind of [...istioKinds, ...smiKinds])
    for (const one of compiler.ofKind(kind)) yield* closedParts(one, compiler);
  for (const target of compiler.ofKind('TrafficTarget'))
    yield* unenforcedBy(target, targetEnforcement(target, compiler));
  for (const split of compiler.ofKind('TrafficSplit'))
    yield* unenforcedBy(split, splitEnforcement(split, compiler));
  for (const kind of ['TrafficPolicy', 'AuthenticationPolicy'] as const)
    for (const policy of compiler.ofKind(kind))
      for (const { type, status, message } of trafficPolicyProblems(policy, compiler))
        if (status === 'False')
          yield { what: `${nameOf(policy)}: ${message}`, isAccepted: type === enforcedType };
  for (const policy of compiler.ofKind('TrafficPolicy')) yield* decisionProblems(policy, compiler);
  for (const policy of compiler.authenticationPolicies.all())
    for (const problem of keyProblems(policy, compiler.keySets))
      if (!problem.endsWith(notFetched.problem))
        yield { what: `${nameOf(policy)}: ${problem}: no token of this issuer is valid`, isAccepted: true };
  for (const kind of ['XBackendTrafficPolicy', 'BackendTLSPolicy'] as const)
    for (const policy of compiler.ofKind(kind))
      for (const { type, status, message } of backendProblems(policy, compiler))
        if (status === 'False' && type !== 'ResolvedRefs')
          yield { what: `${nameOf(policy)}: ${message}`, isAccepted: type === enforcedType };
  for (const kind of routeKinds)
    for (const route of compiler.ofKind(kind))
      for (const [message, type] of routeProblems(route, compiler))
        yield { what: `${nameOf(route)}: ${message}`, isAccepted: type === enforcedType };
}

/** What of an object in force is closed, waits for a waypoint, or holds for less than was meant. Fields without an effect are the business of `weft migrate check`. */
function* closedParts(object: MeshObject, compiler: Compiler): Generator<Unenforced> {
  for (const remark of compiler.remarksOf(object)) {
    const what = `${nameOf(object)}: ${remarkText(remark)}`;
    if (remark.does === 'closed') yield { what, isAccepted: false };
    else if (remark.does === 'unserved') yield { what, isAccepted: true };
    else if (remark.does === 'narrower')
      yield { what, isAccepted: true, help: 'move it, if it is meant for the whole mesh' };
  }
}

function* unenforcedBy(object: MeshObject, found: ConditionUpdate | undefined): Generator<Unenforced> {
  if (found?.status === 'False') yield { what: `${nameOf(object)}: ${found.message}`, isAccepted: true };
}

export function* unenforced(compiler: Compiler): Generator<string> {
  yield* unboundServices(compiler);
  for (const { what } of unenforcedObjects(compiler)) yield what;
}
