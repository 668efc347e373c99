/** Random changes of a small mesh, for properties that have to hold after any change. */
import { parseIp } from '../../src/model/address.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { WaypointRef, Workload } from '../../src/model/workload.js';
import type { MeshUpdate } from '../../src/state/store.js';
import { behind, key, policy, service, uid, workload } from './mesh.js';

/** A deterministic generator of numbers in [0, n) for a seed. */
export function dice(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

export const names = ['a', 'b', 'c', 'd', 'e', 'f'];

/** An update of a small mesh that changes one object. `waypoint`: the name of a Service that more references lead to. */
export function randomUpdate(roll: (n: number) => number, waypoint?: string): MeshUpdate {
  const pick = <T>(all: readonly T[]): T => all[roll(all.length)] as T;
  const to = (name: string): WaypointRef => ({ kind: 'hostname', service: key(name), hbonePort: 15008 });
  const reference = (): WaypointRef | undefined =>
    pick([
      undefined,
      to(pick(names)),
      ...(waypoint === undefined ? [] : [to(waypoint), to(waypoint), to(waypoint)]),
      { kind: 'address', network: '', ip: parseIp(`10.0.0.${roll(6)}`), hbonePort: 15008 },
    ]);
  switch (roll(6)) {
    case 5: {
      const namespace = pick(['shop', 'other']);
      const ip = `10.0.0.${roll(6)}`;
      const at = `Kubernetes/discovery.k8s.io/EndpointSlice/${namespace}/s/${ip}` as Workload['uid'];
      if (roll(2)) return { removed: [at] };
      return { workloads: [workload('s', ip, '', { uid: at, namespace, ...behind(pick(names)) })] };
    }
    case 0: {
      const name = pick(names);
      const behindIt = reference();
      return {
        workloads: [
          workload(name, `10.0.0.${roll(6)}`, 'node-1', {
            ...(roll(2) ? behind(pick(names)) : {}),
            namespace: pick(['shop', 'other']),
            policies: roll(2) ? [`shop/${pick(names)}`] : [],
            healthy: roll(3) > 0,
            nativeTunnel: roll(2) > 0,
            ...(behindIt && roll(4) === 0 ? { waypoint: behindIt } : {}),
          }),
        ],
      };
    }
    case 1: {
      const behindIt = reference();
      return {
        services: [
          service(pick(names), `10.0.0.${roll(8)}`, pick([80, 8080]), behindIt ? { waypoint: behindIt } : {}),
        ],
      };
    }
    case 2:
      return { removed: [pick([uid, key])(pick(names))] };
    case 3: {
      const scope: AuthorizationPolicy['scope'] = pick(['global', 'namespace', 'workload', 'workload']);
      const services = roll(2) ? [key(pick(names))] : [];
      const namespace = pick(['shop', 'other']);
      return {
        policies: [
          policy(pick(names), 'deny', { destinationPorts: [roll(9)] }, { scope, services, namespace }),
        ],
      };
    }
    default:
      return { removedPolicies: [`shop/${pick(names)}`] };
  }
}
