/** A request, as a decision service is asked about it. */
import type { BackendTarget } from '../../model/route.js';
import type { ServicePort } from '../authorization/reachable.js';
import type { RequestHead } from '../http/http-stream.js';
import type { Client } from '../listener/client.js';
import type { Headers } from '../http/headers.js';
import type { Decision } from './decision.js';

export interface AskedRequest {
  readonly head: RequestHead;
  readonly version: string;
  readonly client: Client;
  readonly servicePort: ServicePort | undefined;
  readonly dialedPort: number;
  /** Undefined: the service gets no body. */
  readonly body: Buffer | undefined;
  /** The body is only the first part of the request's. */
  readonly isPartial: boolean;
}

export type ServiceTarget = Extract<BackendTarget, { readonly kind: 'service' }>;

/** The request for which a decision is awaited. `cancel` is set while a call can be given up. */
export interface Waiting {
  isOver: boolean;
  cancel: (() => void) | undefined;
}

/** One call of the service. */
export interface Call {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly headers: Headers;
  readonly body: Buffer | undefined;
  readonly version: 'http2' | undefined;
}

export interface CallResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
  readonly trailers: Headers | undefined;
}

/** How a service is asked, and what its response means. */
export interface DecisionProtocol {
  /** @param timeoutMs what is left for the call */
  call(request: AskedRequest, timeoutMs: number): Call;
  /** Error: the response is no decision. */
  read(response: CallResponse): Decision;
}

/** The name of the header by which a service learns whether it got the whole body (Envoy). */
export const partialBodyField = 'x-envoy-auth-partial-body';
