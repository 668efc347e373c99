/** Connections between `web` (10.0.1.1, node n1) and `far` (10.0.2.1, node n2), for tests of src/path/choose-path.ts. */
import {
  planInboundPlain,
  planInboundTunnel,
  planOutbound,
  type InboundPlan,
  type OutboundInput,
  type OutboundPlan,
  type TunnelInput,
} from '../../src/path/choose-path.js';
import { parseIp } from '../../src/model/address.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Service } from '../../src/model/service.js';
import type { Workload } from '../../src/model/workload.js';
import { MeshState } from '../../src/state/store.js';
import { behind, id, pod, service, workload } from './mesh.js';

export const far = pod('far', '10.0.2.1');

export interface MeshExtra {
  readonly workloads?: readonly Workload[];
  readonly services?: readonly Service[];
  readonly policies?: readonly AuthorizationPolicy[];
}

/** `web`, `far` and its Service at 10.96.0.2, and `more`; later objects replace earlier ones with the same name. */
export function meshOf(...extras: readonly MeshExtra[]): MeshState {
  const state = new MeshState();
  state.apply({
    workloads: [
      workload('web', '10.0.1.1', 'n1'),
      workload('far', '10.0.2.1', 'n2', behind('far')),
      ...extras.flatMap(({ workloads = [] }) => workloads),
    ],
    services: [service('far', '10.96.0.2'), ...extras.flatMap(({ services = [] }) => services)],
    policies: extras.flatMap(({ policies = [] }) => policies),
  });
  return state;
}

/** Input for a connection that `web` dials; all other pods are on other nodes. */
export const outboundTo = (
  state: MeshState,
  ip: string,
  port: number,
  more: Partial<OutboundInput> = {},
): OutboundPlan =>
  planOutbound(state, {
    source: pod('web', '10.0.1.1'),
    sourceIp: parseIp('10.0.1.1'),
    dialed: { ip: parseIp(ip), port },
    node: 'n1',
    locality: () => 'elsewhere',
    random: 0,
    ...more,
  });

/** Input for a tunnel of `web` to port 8080 of `far`. */
export const tunnelTo = (state: MeshState, more: Partial<TunnelInput> = {}): InboundPlan =>
  planInboundTunnel(state, {
    pod: far,
    authority: { ip: parseIp('10.0.2.1'), port: 8080 },
    local: parseIp('10.0.2.1'),
    remote: parseIp('10.0.1.1'),
    peer: id('web'),
    ...more,
  });

/** Input for a plaintext connection of `web` to `far`. */
export const plainTo = (state: MeshState, port = 8080): InboundPlan =>
  planInboundPlain(state, {
    pod: far,
    local: { ip: parseIp('10.0.2.1'), port },
    remote: { ip: parseIp('10.0.1.1'), port: 4000 },
  });
