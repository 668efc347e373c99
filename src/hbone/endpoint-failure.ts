/** Decides whether a failed attempt to connect counts against the endpoint. Pure. */
import { WeftError } from '../base/errors.js';

/** The peer's response to CONNECT was not 200. */
export class TunnelRefused extends WeftError {
  constructor(
    /** HTTP status. */
    readonly status: number,
    authority: string,
  ) {
    super('WEFT_TUNNEL_REFUSED', `the peer responded ${status} to CONNECT ${authority}`, {
      source: 'upstream',
    });
  }
}

/** Error codes that count against the endpoint if the source is upstream. */
const unreachable: ReadonlySet<string> = new Set([
  'WEFT_DIAL',
  'WEFT_DIAL_TIMEOUT',
  'WEFT_UPSTREAM_CONNECT',
  'WEFT_UPSTREAM_TLS',
  'WEFT_TUNNEL_CONNECT',
  'WEFT_TUNNEL_IDENTITY',
  'WEFT_TUNNEL_TIMEOUT',
  'WEFT_TUNNEL_TLS',
]);

/** OpenSSL's names of the alerts with which a peer rejects our own certificate. */
const ownCertificate = /ALERT.*(?:CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/;
const refusesOurCertificate = ({ cause }: WeftError): boolean =>
  ownCertificate.test((cause as NodeJS.ErrnoException | undefined)?.code ?? '');

/**
 * Whether a failed attempt to connect means that the endpoint is unreachable. These do not count: a certificate or descriptor missing on
 * our side, a refusal by policy (401), a rejection of our certificate, and a tunnel that was reset before its response (the next
 * connection shows whether the endpoint is reachable).
 */
export function isEndpointFailure(error: unknown): boolean {
  // 502 to 504: the endpoint's node could not reach the application or does not accept connections for it.
  if (error instanceof TunnelRefused) return error.status >= 502 && error.status <= 504;
  return (
    error instanceof WeftError &&
    error.source === 'upstream' &&
    unreachable.has(error.code) &&
    !refusesOurCertificate(error)
  );
}
