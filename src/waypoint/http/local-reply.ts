/** The waypoint's own responses (Envoy: local replies): status, flag, code and reason of each. */
import type { Headers } from './headers.js';
import type { ResponseHead, UpstreamFailure } from './http-stream.js';
import type { ResponseFlag } from '../telemetry/request-record.js';

export interface LocalReply {
  readonly status: number;
  readonly flag: ResponseFlag;
  readonly code: string;
  readonly why: string;
  /** The policy that refuses the request, if it is none of those of `RequestAuthorization.verdict`. */
  readonly policy?: string;
  /** The status for gRPC clients, if it is not the one that gRPC maps the HTTP status to. */
  readonly grpcStatus?: number;
  /** Header fields of the response, for instance when to try again. */
  readonly headers?: Headers;
  /** The body of the response, for clients other than gRPC. */
  readonly body?: Buffer;
}

/** The reply if a request limit is reached. `reached`: the limit of all clients together, or this client's share of it. */
export const requestLimitReply = (reached: 'all' | 'share', requestsMax: number): LocalReply => ({
  status: 503,
  flag: 'UO',
  code: 'WEFT_REQUESTS_FULL',
  why:
    reached === 'all'
      ? `request limit reached (${requestsMax})`
      : `this client's share of the request limit (${requestsMax}) is used up`,
});

export const noRoute: LocalReply = {
  status: 404,
  flag: 'NR',
  code: 'WEFT_NO_ROUTE',
  why: 'no route rule matches',
};

export const invalidBackend = (why: string): LocalReply => ({
  status: 500,
  flag: 'NC',
  code: 'WEFT_BACKEND_INVALID',
  why,
});

/** The reply if a filter failed: it is unknown whether the request may go on. */
export const filterFailed = (why: string): LocalReply => ({
  status: 500,
  flag: 'LR',
  code: 'WEFT_FILTER_FAILED',
  why: `a filter failed: ${why}`,
});

export const noHealthyEndpoint = (service: string): LocalReply => ({
  status: 503,
  flag: 'UH',
  code: 'WEFT_NO_HEALTHY_ENDPOINT',
  why: `${service} has no usable endpoint`,
});

export const timeoutReply = (why: string): LocalReply => ({
  status: 504,
  flag: 'UT',
  code: 'WEFT_REQUEST_TIMEOUT',
  why,
});
/** DEADLINE_EXCEEDED of gRPC. */
const deadlineExceeded = 4;

/** The replies if a request's time is up, by whose time it was. */
export const deadlineReplies: Readonly<Record<'rule' | 'policy' | 'grpc' | 'duration', LocalReply>> = {
  rule: timeoutReply('request timeout'),
  policy: timeoutReply('request timeout'),
  grpc: { ...timeoutReply("the client's grpc-timeout has expired"), grpcStatus: deadlineExceeded },
  duration: {
    ...timeoutReply('greatest duration of a request reached'),
    flag: 'DT',
    grpcStatus: deadlineExceeded,
  },
};

/** Envoy's: a limit that a policy sets was reached. */
const overloaded: Headers = ['x-envoy-overloaded', 'true'];

export function localReplyOf({ kind, why, code, action }: UpstreamFailure): LocalReply {
  switch (kind) {
    case 'connect':
      return { status: 503, flag: 'UF', code: code ?? 'WEFT_UPSTREAM_CONNECT', why };
    case 'overflow':
      return {
        status: 503,
        flag: 'UO',
        code: 'WEFT_REQUESTS_FULL',
        why,
        ...(action ? { headers: overloaded } : {}),
      };
    case 'refused':
    case 'stale':
    case 'reset':
      return { status: 503, flag: 'UC', code: 'WEFT_UPSTREAM_RESET', why };
    case 'protocol':
      return { status: 502, flag: 'UPE', code: 'WEFT_UPSTREAM_PROTOCOL', why };
    case 'timeout':
      return { status: 504, flag: 'UT', code: 'WEFT_REQUEST_TIMEOUT', why };
  }
}

/** gRPC's mapping of HTTP statuses (doc/http-grpc-status-mapping.md of grpc). */
function grpcStatusOf(status: number): number {
  switch (status) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}

/** The response head of a local reply. The client learns at most the flag, never the reason. */
export function localReplyHead(
  { status, flag, grpcStatus = grpcStatusOf(status), headers = [], body }: LocalReply,
  isGrpc: boolean,
): ResponseHead {
  return isGrpc
    ? {
        status: 200,
        headers: [
          'content-type',
          'application/grpc',
          'grpc-status',
          String(grpcStatus),
          'grpc-message',
          flag,
          // The type of a body that gRPC clients do not get.
          ...headers.filter((_, i) => headers[i - (i % 2)] !== 'content-type'),
        ],
      }
    : { status, headers: [...headers, ...(body ? ['content-length', String(body.length)] : [])] };
}
