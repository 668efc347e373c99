/** What nodes and waypoints know of a compiled mesh: each resource as it is after it was on the wire. */
import type { Compiler } from '../../../control/compile/compile.js';
import type { Decoded } from '../../../src/base/errors.js';
import { decodeAddress, decodeAuthorization, decodeRoute } from '../../../src/discovery/decode.js';
import {
  encodeAuthorization,
  encodeRoute,
  encodeService,
  encodeWorkload,
} from '../../../src/discovery/encode.js';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { Route } from '../../../src/model/route.js';
import { MeshState, type MeshUpdate } from '../../../src/state/store.js';

export const trustDomain = parseTrustDomain('cluster.local');

function valueOf<T>(decoded: Decoded<T>): T {
  if (!decoded.ok) throw new Error(decoded.errors.join('; '));
  return decoded.value;
}

export function updateOf(compiler: Compiler): MeshUpdate {
  const told = [...compiler.all()];
  const addresses = told.flatMap((one) =>
    one.kind === 'workload'
      ? [valueOf(decodeAddress(encodeWorkload(one.value)))]
      : one.kind === 'service'
        ? [valueOf(decodeAddress(encodeService(one.value)))]
        : [],
  );
  return {
    workloads: addresses.flatMap((one) => (one.kind === 'workload' ? [one.workload] : [])),
    services: addresses.flatMap((one) => (one.kind === 'service' ? [one.service] : [])),
    policies: told.flatMap((one) =>
      one.kind === 'policy' ? [valueOf(decodeAuthorization(encodeAuthorization(one.value)))] : [],
    ),
  };
}

export const routesOf = (compiler: Compiler): Route[] =>
  [...compiler.all()].flatMap((one) =>
    one.kind === 'route' ? [valueOf(decodeRoute(encodeRoute(one.value)))] : [],
  );

export function viewOf(compiler: Compiler): MeshState {
  const state = new MeshState();
  state.apply(updateOf(compiler));
  return state;
}
