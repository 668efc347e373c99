/** The request, as its router needs it, and what the router reports to it. */
import type { Rechecked } from '../authorization/endpoint-policies.js';
import type { RequestAuthorization } from '../authorization/request-authorization.js';
import type { KeyedRequest } from '../filters/request-keys.js';
import type { Headers } from '../http/headers.js';
import type { Downstream, ResponseHead } from '../http/http-stream.js';
import type { LocalReply } from '../http/local-reply.js';
import type { Client } from '../listener/client.js';
import type { RouteSelection } from '../routes/route-selection.js';
import type { RequestSettings } from '../state/request-settings.js';
import type { RequestInfo } from '../telemetry/request-info.js';
import type { ActionObserver } from '../telemetry/request-record.js';
import type { Mirrors } from '../upstream/mirror.js';
import type { RequestContext } from '../worker/context.js';
import type { IdleClock } from './idle-timeouts.js';

export interface RoutedRequest extends Rechecked, KeyedRequest, ActionObserver {
  readonly context: RequestContext;
  readonly client: Client;
  readonly downstream: Downstream;
  readonly authorization: RequestAuthorization;
  readonly route: RouteSelection;
  readonly settings: RequestSettings;
  readonly info: RequestInfo;
  readonly idle: IdleClock;
  readonly isGrpc: boolean;
  /** Copies of the request; undefined if there are none. */
  readonly mirrors: Mirrors | undefined;
  /** Time until the request's timeout; Infinity without one. `nowMs`: by the monotonic clock. */
  leftMs(nowMs: number): number;
  /** `grpcLeftMs` is defined. */
  readonly hasGrpcDeadline: boolean;
  /** What is left of the client's grpc-timeout; undefined: the field is passed on as it is. */
  grpcLeftMs(nowMs: number): number | undefined;
  onInterim(head: ResponseHead): void;
  /** The endpoint's response begins. No retry follows. */
  onResponse(head: ResponseHead, hasBody: boolean): void;
  onUpgraded(head: ResponseHead): void;
  onResponseData(bytes: Buffer): void;
  onResponseEnd(trailers: Headers | undefined): void;
  /** No further attempt follows: the request ends with this reply, or is aborted if its response has begun. */
  onFailed(reply: LocalReply): void;
}
