/** The waypoint's own answers: status, flag, code and reason of each. */
import type { UpstreamFailure } from '../http/http-stream.js';
import type { ResponseFlag } from '../telemetry/request-record.js';

export interface LocalReply {
  readonly status: number;
  readonly flag: ResponseFlag;
  readonly code: string;
  readonly why: string;
}

export const noHealthyEndpoint = (service: string): LocalReply => ({
  status: 503,
  flag: 'UH',
  code: 'WEFT_NO_HEALTHY_ENDPOINT',
  why: `${service} has no endpoint that takes requests`,
});

export function localReplyOf({ kind, why, code }: UpstreamFailure): LocalReply {
  switch (kind) {
    case 'connect':
      return { status: 503, flag: 'UF', code: code ?? 'WEFT_UPSTREAM_CONNECT', why };
    case 'overflow':
      return { status: 503, flag: 'UO', code: 'WEFT_REQUESTS_FULL', why };
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

/** gRPC's own table of HTTP statuses (doc/http-grpc-status-mapping.md of grpc). */
export function grpcStatusOf(status: number): number {
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
