/** What is written into the status of a Service whose labels name a waypoint. Pure. */
import type { Compiler } from '../compile/compile.js';
import { namespaceOf } from '../../src/model/labels.js';
import { waypointBoundType, type ServiceObject } from '../objects/objects.js';
import { conditionsOf, waypointBound } from './route.js';
import { rfc3339 } from './conditions.js';
import { statusPathOf } from './path.js';
import type { Write } from '../kubernetes/apply-queue.js';

/**
 * The condition `weft.dev/WaypointBound`: it is written where the waypoint does not serve the Service, which is closed then, and corrected or
 * taken off where it was written before. Most Services have none, so a mesh without faults writes nothing. Undefined where nothing is to be written.
 */
export function serviceWrite(service: ServiceObject, compiler: Compiler): Write | undefined {
  const [now] = service.status?.conditions ?? [];
  const wanted = waypointBound(service, compiler);
  if (!now && wanted?.status !== 'False') return undefined;
  if (
    wanted &&
    now?.status === wanted.status &&
    now.reason === wanted.reason &&
    now.message === wanted.message
  )
    return undefined;
  const path = statusPathOf(service);
  if (path === undefined) return undefined;
  const { name, uid } = service.metadata;
  const namespace = namespaceOf(service);
  const kept = (service.status?.conditions ?? []).filter(({ type }) => type === waypointBoundType);
  return {
    path,
    body: {
      apiVersion: 'v1',
      kind: 'Service',
      // With its UID: a Service of the same name that came after it is not meant.
      metadata: { name, namespace, ...(uid === undefined ? {} : { uid }) },
      status: {
        // Services have no generation.
        conditions: wanted ? conditionsOf([wanted], kept, undefined, rfc3339(Date.now())) : [],
      },
    },
  };
}
