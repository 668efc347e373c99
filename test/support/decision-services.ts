/** Decision services for tests: Envoy's API over gRPC, and plain HTTP. */
import type http2 from 'node:http2';
import type { TestContext } from 'node:test';
import { encodeTarget } from '../../src/discovery/codec/backend-target.js';
import { CheckRequest, CheckResponse, type AttributeContext } from '../../src/discovery/gen/ext_authz.js';
import type { ExternalAuthorizationFilter } from '../../src/discovery/gen/weft.js';
import type { RouteFilter } from '../../src/model/route.js';
import { grpcBody, grpcMessageOf } from '../../src/waypoint/http/grpc.js';
import { filter } from './filters.js';
import { key } from './mesh.js';
import { http2Upstream } from './waypoint.js';

export const policyName = 'TrafficPolicy shop/guard main';

/** The filter of a policy that asks the Service `authz`. */
export const askFilter = (fields: Partial<ExternalAuthorizationFilter> = {}): RouteFilter =>
  filter('externalAuthorization', {
    name: policyName,
    service: encodeTarget({ kind: 'service', service: key('authz'), port: 80 }),
    protocol: { $case: 'grpc', value: { context: [] } },
    timeoutMs: 20_000,
    ...fields,
  });
export const askHttp = (fields: Partial<ExternalAuthorizationFilter> = {}, pathPrefix = ''): RouteFilter =>
  askFilter({ protocol: { $case: 'http', value: { pathPrefix } }, ...fields });

/** Parts of a response, with the rest empty. */
export const checkResponse = (fields: object): Uint8Array =>
  CheckResponse.encode(CheckResponse.fromPartial(fields)).finish();
export const header = (key: string, value: string, more: object = {}): object => ({
  header: { key, value, rawValue: new Uint8Array() },
  append: undefined,
  ...more,
});
export const okWith = (value: object): object => ({
  status: { code: 0 },
  httpResponse: { $case: 'okResponse', value },
});
export const deniedWith = (value: object, code = 7): object => ({
  status: { code },
  httpResponse: { $case: 'deniedResponse', value },
});

export type Answer = Uint8Array | ((stream: http2.ServerHttp2Stream) => void);

export interface GrpcDecisionService {
  readonly port: number;
  readonly asked: AttributeContext[];
  answer: (asked: AttributeContext) => Answer;
}

/** A decision service whose answers the test chooses. */
export async function grpcDecisionService(
  t: TestContext,
  answer: (asked: AttributeContext) => Answer = () => checkResponse(okWith({})),
): Promise<GrpcDecisionService> {
  const asked: AttributeContext[] = [];
  const service = { asked, answer };
  const { port } = await http2Upstream(t, (stream) => {
    const parts: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => parts.push(bytes));
    stream.on('end', () => {
      const message = grpcMessageOf(Buffer.concat(parts));
      const { attributes } = CheckRequest.decode(message ?? new Uint8Array());
      if (!attributes) throw new Error('a call without attributes');
      asked.push(attributes);
      const made = service.answer(attributes);
      if (typeof made === 'function') return made(stream);
      respondGrpc(stream, grpcBody(made));
    });
  });
  return Object.assign(service, { port });
}

/** Responds with these bytes and status 0. */
export function respondGrpc(stream: http2.ServerHttp2Stream, body: Buffer, status = '0'): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status }));
  stream.end(body);
}
