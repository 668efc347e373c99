/** What is not in force though it can be read, as lines for a log and for `weft status` without Kubernetes. */
import type { Compiler } from './compile/compile.js';
import type { MeshObject } from './compile/objects.js';
import { policyEnforcement, waypointBound } from './compile/route-status.js';

const nameIn = ({ kind, metadata }: MeshObject): string =>
  kind === 'Namespace' ? metadata.name : `${metadata.namespace ?? 'default'}/${metadata.name}`;

/**
 * Services that no client reaches since their waypoint does not serve them, and policies on requests that nobody reads; on Kubernetes
 * conditions say so.
 */
export function* unenforced(compiler: Compiler): Generator<string> {
  for (const service of compiler.ofKind('Service')) {
    const bound = waypointBound(service, compiler);
    if (bound?.status === 'False') yield bound.message;
  }
  for (const policy of compiler.ofKind('AccessPolicy')) {
    const said = policyEnforcement(policy, compiler);
    if (said?.status === 'False') yield `AccessPolicy ${nameIn(policy)}: ${said.message}`;
  }
}
