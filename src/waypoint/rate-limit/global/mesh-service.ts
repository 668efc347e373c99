/**
 * A service of the mesh that speaks Envoy's rate limit API v3, reached as any backend: the waypoint's identity is the client, and the
 * Service's own policies and limits apply.
 */
import {
  RateLimitRequest,
  RateLimitResponse,
  type RateLimitDescriptor,
} from '../../../discovery/gen/ratelimit.js';
import { grpcBody, grpcMessageOf } from '../../http/grpc.js';
import { headerOf } from '../../http/headers.js';
import { sendOwn, type OwnResponse } from '../../upstream/own-request.js';
import type { RequestContext } from '../../worker/context.js';
import type { MeshService } from './global-limits.js';
import { shouldRateLimit } from './own-service.js';
import type { RateLimitService } from './service.js';

const responseBytesMax = 64 << 10;

export class MeshRateLimitService implements RateLimitService {
  /** Each key has a call of its own: other services may count the hits of a call for each of its descriptors. */
  readonly descriptorsMax = 1;
  readonly callsMax = 64;
  readonly grantsParts = false;

  constructor(
    private readonly context: () => Pick<RequestContext, 'clusters' | 'onLimitReached' | 'state'>,
    private readonly target: MeshService['target'],
  ) {}

  async call(
    domain: string,
    descriptors: readonly RateLimitDescriptor[],
    timeoutMs: number,
  ): Promise<RateLimitResponse> {
    const { clusters, state } = this.context();
    const { service, port } = this.target;
    const cluster = clusters.ofService(service, port);
    if (!cluster) throw new Error(state.noEndpointsBecause(service, port));
    const endpoint = cluster.pick();
    if (typeof endpoint === 'string') throw new Error(`${service} has no usable endpoint`);
    // The hits of the call: services of earlier versions of the API do not know those of a descriptor.
    const hitsAddend = descriptors[0]?.hitsAddend ?? 1;
    const bare = descriptors.map((one) => ({ ...one, hitsAddend: undefined }));
    const response = await sendOwn(this.context(), cluster, endpoint, {
      method: 'POST',
      path: shouldRateLimit,
      authority: `${service.slice(service.indexOf('/') + 1)}:${port}`,
      headers: ['content-type', 'application/grpc', 'te', 'trailers', 'grpc-timeout', `${timeoutMs}m`],
      body: grpcBody(RateLimitRequest.encode({ domain, descriptors: bare, hitsAddend }).finish()),
      timeoutMs,
      bodyBytesMax: responseBytesMax,
      version: 'http2',
    });
    return readResponse(response);
  }

  reset(): void {}

  close(): void {}
}

/** Reads a gRPC response with one message. Error: it has a failure, or another form. */
function readResponse({ status, headers, body, trailers }: OwnResponse): RateLimitResponse {
  const grpcStatus = headerOf(trailers ?? headers, 'grpc-status');
  if (status !== 200 || grpcStatus !== '0')
    throw new Error(`the service responded ${status}, grpc-status ${(grpcStatus ?? 'absent').slice(0, 8)}`);
  const message = grpcMessageOf(body);
  if (!message) throw new Error('the response is not one uncompressed message');
  return RateLimitResponse.decode(message);
}
