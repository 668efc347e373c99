/** Calls a decision service of the mesh, reached as any backend: the waypoint's identity is the client, and the Service's policies apply. */
import { denialReason } from '../../policy/authorize.js';
import { authorizeClient } from '../authorization/authorize.js';
import { attributesOf } from '../authorization/request-attributes.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { Client } from '../listener/client.js';
import { unknownService } from '../listener/destination.js';
import { OwnRequestError, sendOwn } from '../upstream/own-request.js';
import type { RequestContext } from '../worker/context.js';
import type { Call, CallResponse, ServiceTarget, Waiting } from './asked-request.js';
import { decisionLimits } from './decision-headers.js';

export type ServiceContext = Pick<RequestContext, 'clusters' | 'onLimitReached' | 'state'>;

const none: ReadonlySet<Endpoint> = new Set();

/** Another endpoint or connection is tried after these: the service has not read the call. */
const repeated: readonly OwnRequestError['kind'][] = ['connect', 'refused', 'stale'];

/**
 * Calls the service. Rejects if there is no complete response in time.
 * @param self the waypoint's own identity: the service's policies have to allow it. Other identities that reach the service through this
 *   waypoint must not do so by a policy of theirs that names it.
 */
export async function callService(
  context: ServiceContext,
  self: Client,
  target: ServiceTarget,
  call: Call,
  timeoutMs: number,
  waiting: Waiting,
): Promise<CallResponse> {
  const endMs = performance.now() + timeoutMs;
  let tried = none;
  for (;;) {
    const { cluster, endpoint } = choose(context, target, self, call, tried);
    try {
      const { version, ...request } = call;
      const leftMs = tried === none ? timeoutMs : Math.ceil(endMs - performance.now());
      return await sendOwn(context, cluster, endpoint, {
        ...request,
        timeoutMs: Math.max(1, leftMs),
        bodyBytesMax: decisionLimits.bodyBytesMax,
        ...(version ? { version } : {}),
        ...(tried === none ? {} : { fresh: true }),
        onSent: (cancel) => (waiting.cancel = cancel),
      });
    } catch (error) {
      const mayRepeat = error instanceof OwnRequestError && repeated.includes(error.kind);
      if (!mayRepeat || tried !== none || waiting.isOver || performance.now() >= endMs) throw error;
      tried = new Set([endpoint]);
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
  const endpoint =
    tried === none ? cluster.pick() : cluster.pick({ excluded: { endpoints: tried, mayRepeat: true } });
  if (typeof endpoint === 'string') throw new Error(`${service} has no usable endpoint`);
  const unknown = unknownService(state, target);
  if (unknown !== undefined) throw new Error(unknown);
  // A call of the waypoint's own passes no filters: it must not be a way around them.
  if (state.requestSettings(service, port, self).demanded.some((one) => !one.unproven))
    throw new Error(`${service} itself demands decisions about requests`);
  const groups = state.policies.ofEndpoint(endpoint, target);
  if (groups.length > 0) {
    const head = { ...call, scheme: 'http' };
    const verdict = authorizeClient(groups, self, attributesOf(head));
    if (!verdict.allowed)
      throw new Error(`the policies of ${service} do not allow the waypoint: ${denialReason(verdict)}`);
  }
  return { cluster, endpoint };
}
