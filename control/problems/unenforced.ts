/** Objects that are not enforced, for a registry of files, which has no conditions to say so. Pure. */
import type { Compiler } from '../compile/compile.js';
import { namespaceOf } from '../../src/model/labels.js';
import { enforcedType, routeKinds, type MeshObject, type RouteObject } from '../objects/objects.js';
import { policyEnforcement } from '../status/policy.js';
import { routeParents } from '../status/route.js';
import { waypointBound } from '../status/service.js';

const nameOf = (object: MeshObject): string =>
  `${object.kind} ${namespaceOf(object)}/${object.metadata.name}`;

export interface Unenforced {
  /** One sentence. */
  readonly what: string;
  /** It is in force as it is written, and no waypoint carries it out. */
  readonly isAccepted: boolean;
}

/** Messages of the conditions that would be false, and their types; what cannot be read is the file's own error. */
function routeProblems(route: RouteObject, compiler: Compiler): ReadonlyMap<string, string> {
  const compiled = compiler.route(route);
  const { invalid: _said, ...readable } = compiled;
  const problems = new Map<string, string>();
  for (const { conditions = [] } of routeParents({ ...route, status: {} }, readable, compiler, ''))
    for (const { type, status, message = '' } of conditions)
      if (status === 'False' && !problems.has(message)) problems.set(message, type);
  return problems;
}

/** Services that no client reaches since their waypoint does not serve them. One sentence each. */
function* unboundServices(compiler: Compiler): Generator<string> {
  for (const service of compiler.ofKind('Service')) {
    const bound = waypointBound(service, compiler);
    if (bound?.status === 'False') yield bound.message;
  }
}

/** Policies on requests that no waypoint reads, and routes that are attached to nothing, lead nowhere or are not carried out. */
export function* unenforcedObjects(compiler: Compiler): Generator<Unenforced> {
  for (const policy of compiler.ofKind('AccessPolicy')) {
    const said = policyEnforcement(policy, compiler);
    if (said?.status === 'False') yield { what: `${nameOf(policy)}: ${said.message}`, isAccepted: true };
  }
  for (const kind of routeKinds)
    for (const route of compiler.ofKind(kind))
      for (const [message, type] of routeProblems(route, compiler))
        yield { what: `${nameOf(route)}: ${message}`, isAccepted: type === enforcedType };
}

export function* unenforced(compiler: Compiler): Generator<string> {
  yield* unboundServices(compiler);
  for (const { what } of unenforcedObjects(compiler)) yield what;
}
