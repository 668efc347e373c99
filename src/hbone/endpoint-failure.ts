/** Whether a failed attempt to connect counts against the endpoint. Pure. */
import { WeftError } from '../base/errors.js';

/** A peer's response to CONNECT that is no 200. */
export class TunnelRefused extends WeftError {
  constructor(
    /** HTTP status. */
    readonly status: number,
    authority: string,
  ) {
    super('WEFT_TUNNEL_REFUSED', `the peer answered ${status} to CONNECT ${authority}`, {
      source: 'upstream',
    });
  }
}

/** Codes of errors that count, where their source is upstream. */
const unreachable: ReadonlySet<string> = new Set([
  'WEFT_DIAL',
  'WEFT_DIAL_TIMEOUT',
  'WEFT_UPSTREAM_CONNECT',
  'WEFT_TUNNEL_CONNECT',
  'WEFT_TUNNEL_IDENTITY',
  'WEFT_TUNNEL_TIMEOUT',
  'WEFT_TUNNEL_TLS',
]);

/** OpenSSL's names of alerts by which the peer refuses our own certificate. */
const ownCertificate = /ALERT.*(?:CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/;
const refusesOurCertificate = ({ cause }: WeftError): boolean =>
  ownCertificate.test((cause as NodeJS.ErrnoException | undefined)?.code ?? '');

/**
 * Whether a failed attempt to connect says that the endpoint cannot be reached. A missing certificate or descriptor of our own, a peer's
 * refusal by policy (401) or of our certificate, and a tunnel that broke off ahead of its response (its next connection will tell) do not.
 */
export function isEndpointFailure(error: unknown): boolean {
  // 502 to 504: the endpoint's node could not reach the application, or does not take connections for it.
  if (error instanceof TunnelRefused) return error.status >= 502 && error.status <= 504;
  return (
    error instanceof WeftError &&
    error.source === 'upstream' &&
    unreachable.has(error.code) &&
    !refusesOurCertificate(error)
  );
}
