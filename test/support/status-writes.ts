/** Calls status functions as the status writer does and returns the resulting write to the API server, for tests. */
import type { Compiler } from '../../control/compile/compile.js';
import type { MeshObject, PodObject } from '../../control/objects/objects.js';
import type { Write } from '../../control/kubernetes/apply-queue.js';
import { acceptedUpdate } from '../../control/status/accepted.js';
import { rfc3339, type ConditionReason, type ConditionUpdate } from '../../control/status/conditions.js';
import type { WaypointHealth } from '../../control/status/status.js';
import { podStatus, type PodCapture } from '../../control/status/pod.js';
import { removalStatus } from '../../control/status/removal.js';
import { isOwn, type StatusLookup, type StatusOf } from '../../control/status/status.js';
import { statusWrite } from '../../control/status/write.js';

export const statusLookup = (compiler: Compiler, health?: WaypointHealth): StatusLookup => ({
  mesh: compiler,
  waypointHealth: () => health,
  timestamp: rfc3339(Date.now()),
});

export const writeOf = <O extends MeshObject>(
  statusOf: StatusOf<O>,
  object: O,
  compiler: Compiler,
): Write | undefined => statusWrite(object, statusOf(object, statusLookup(compiler)));

export const podWrite = (pod: PodObject, state: PodCapture | undefined): Write | undefined =>
  statusWrite(pod, podStatus(pod, state));

/** Undefined for kinds that are not Weft's. */
export const acceptedWrite = (
  object: MeshObject,
  problem: string | ConditionReason | undefined,
  enforced?: ConditionUpdate,
): Write | undefined =>
  isOwn(object)
    ? statusWrite(object, acceptedUpdate(object, problem, rfc3339(Date.now()), enforced))
    : undefined;

/** The writes for all objects while Weft is uninstalled. */
export const removalWrites = (compiler: Compiler): Write[] =>
  [...compiler.keys()].flatMap((key) => {
    const object = compiler.object(key);
    return (object && writeOf(removalStatus, object, compiler)) ?? [];
  });
