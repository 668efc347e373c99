/** Calls a decision service of the mesh, reached as any backend: the waypoint's identity is the client, and the Service's policies apply. */
import { denialReason } from '../../policy/authorize.js';
import type { BackendTarget } from '../../model/route.js';
import { authorizeClient } from '../authorization/authorize.js';
import { attributesOf } from '../authorization/request-attributes.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { Client } from '../listener/client.js';
import { unknownService } from '../listener/destination.js';
import { OwnRequestError, sendOwn } from '../upstream/own-request.js';
import type { RequestContext } from '../worker/context.js';
import type { Call, CallResponse } from './asked-request.js';
import { decisionLimits } from './decision-headers.js';

export type ServiceTarget = Extract<BackendTarget, { readonly kind: 'service' }>;
export type ServiceContext = Pick<RequestContext, 'clusters' | 'onLimitReached' | 'state'>;

/** Another endpoint or connection is tried after these: the service has not read the call. */
const repeated: readonly OwnRequestError['kind'][] = ['connect', 'refused', 'stale'];

/**
 * Calls the service. Rejects if there is no complete response in time.
 * @param self the waypoint's own identity: the service's policies have to allow it. Other identities that reach the service through this
 *   waypoint must not do so by a policy of theirs that names it.
 */
export async function callService(
  context: ServiceContext,
  target: ServiceTarget,
  self: Client,
  call: Call,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<CallResponse> {
  const endMs = performance.now() + timeoutMs;
  const tried = new Set<Endpoint>();
  for (;;) {
    const endpoint = choose(context, target, self, call, tried);
    const { cluster } = endpoint;
    try {
      const { version, ...request } = call;
      return await sendOwn(context, cluster, endpoint.endpoint, {
        ...request,
        timeoutMs: Math.max(1, Math.ceil(endMs - performance.now())),
        bodyBytesMax: decisionLimits.bodyBytesMax,
        ...(version ? { version } : {}),
        ...(tried.size > 0 ? { fresh: true } : {}),
        signal,
      });
    } catch (error) {
      const mayRepeat = error instanceof OwnRequestError && repeated.includes(error.kind);
      if (!mayRepeat || tried.size > 0 || signal.aborted || performance.now() >= endMs) throw error;
      tried.add(endpoint.endpoint);
    }
  }
}

function choose(
  { clusters, state }: ServiceContext,
  target: ServiceTarget,
  self: Client,
  call: Call,
  tried: ReadonlySet<Endpoint>,
) {
  const { service, port } = target;
  const cluster = clusters.ofService(service, port);
  if (!cluster) throw new Error(state.noEndpointsBecause(service, port));
  const endpoint = cluster.pick({ excluded: { endpoints: tried, mayRepeat: true } });
  if (typeof endpoint === 'string') throw new Error(`${service} has no usable endpoint`);
  const unknown = unknownService(state, target);
  if (unknown !== undefined) throw new Error(unknown);
  const groups = state.policies.ofEndpoint(endpoint, target);
  if (groups.length > 0) {
    const head = { ...call, scheme: 'http' };
    const verdict = authorizeClient(groups, self, attributesOf(head));
    if (!verdict.allowed)
      throw new Error(`the policies of ${service} do not allow the waypoint: ${denialReason(verdict)}`);
  }
  return { cluster, endpoint };
}
