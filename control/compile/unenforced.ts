/** Objects that are not enforced, for a registry of files, which has no conditions to say so. Pure. */
import type { Compiler } from './compile.js';
import { namespaceOf } from './labels.js';
import { routeKinds, type MeshObject, type RouteObject } from './objects.js';
import { policyEnforcement, routeParents, waypointBound } from './route-status.js';

const nameOf = (object: MeshObject): string =>
  `${object.kind} ${namespaceOf(object)}/${object.metadata.name}`;

/** What the conditions of a route at its parents would say is missing; what cannot be read is the file's own error. */
function routeProblems(route: RouteObject, compiler: Compiler): ReadonlySet<string> {
  const compiled = compiler.route(route);
  const { invalid: _said, ...readable } = compiled;
  const problems = new Set<string>();
  for (const { conditions = [] } of routeParents({ ...route, status: {} }, readable, compiler, ''))
    for (const { status, message } of conditions) if (status === 'False') problems.add(message ?? '');
  return problems;
}

/** Services that no client reaches since their waypoint does not serve them. One sentence each. */
function* unboundServices(compiler: Compiler): Generator<string> {
  for (const service of compiler.ofKind('Service')) {
    const bound = waypointBound(service, compiler);
    if (bound?.status === 'False') yield bound.message;
  }
}

/**
 * Policies on requests that nobody reads, and routes that are attached to nothing, lead nowhere or are not carried out. One sentence
 * each.
 */
export function* unenforcedObjects(compiler: Compiler): Generator<string> {
  for (const policy of compiler.ofKind('AccessPolicy')) {
    const said = policyEnforcement(policy, compiler);
    if (said?.status === 'False') yield `${nameOf(policy)}: ${said.message}`;
  }
  for (const kind of routeKinds)
    for (const route of compiler.ofKind(kind))
      for (const problem of routeProblems(route, compiler)) yield `${nameOf(route)}: ${problem}`;
}

export function* unenforced(compiler: Compiler): Generator<string> {
  yield* unboundServices(compiler);
  yield* unenforcedObjects(compiler);
}
