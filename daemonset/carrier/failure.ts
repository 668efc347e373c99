/** A failure that the carrier reports, as the error that the TypeScript relay has for it. Pure. */
import { getSystemErrorName } from 'node:util';
import { connectErrorSource } from '../../src/base/connect-error.js';
import { WeftError } from '../../src/base/errors.js';
import { TunnelRefused } from '../../src/hbone/endpoint-failure.js';
import { formatSocketAddress, type SocketAddress } from '../../src/model/address.js';
import { Stage, type Failure, type Target } from './gen/carrier.js';
import { decodeAddress } from './protocol.js';

const timedOut = 'ETIMEDOUT';
const dialMsMax = 10_000;

/** The name of an errno (`ECONNREFUSED`); empty if there is none. */
function nameOf(errno: number): string {
  if (!Number.isInteger(errno) || errno <= 0 || errno > 4095) return '';
  return getSystemErrorName(-errno);
}

/** `identity`: of the source pod. */
export function errorOf(failure: Failure, target: Target | undefined, identity: string): WeftError {
  const kind = target?.kind;
  const to = decodeAddress(kind?.$case === 'direct' ? kind.value.to : kind?.value.next);
  const authority = kind?.$case === 'tunnel' ? kind.value.authority : '';
  const at = to ? `${to.ip} port ${to.port}` : 'an unknown address';
  const upstream = { source: 'upstream', retryable: true } as const;
  switch (failure.stage) {
    case Stage.STAGE_DIAL:
      return nameOf(failure.error) === timedOut
        ? new WeftError('WEFT_DIAL_TIMEOUT', `no response from ${at} within ${dialMsMax} ms`, upstream)
        : connectError('WEFT_DIAL', failure, to, at);
    case Stage.STAGE_TUNNEL_CONNECT:
      return connectError('WEFT_TUNNEL_CONNECT', failure, to, at);
    case Stage.STAGE_TUNNEL_TLS: {
      const why = `TLS with ${to ? formatSocketAddress(to) : at} failed: ${failure.why}`;
      // OpenSSL's text of an alert, as Node's code of it: a rejection of our own certificate says nothing about the endpoint.
      const code = failure.why.toUpperCase().replaceAll(/[^A-Z0-9]+/g, '_');
      return new WeftError('WEFT_TUNNEL_TLS', why, { ...upstream, cause: { code } });
    }
    case Stage.STAGE_TUNNEL_IDENTITY:
      return new WeftError(
        'WEFT_TUNNEL_IDENTITY',
        `TLS with ${to ? formatSocketAddress(to) : at} failed: ${failure.why}`,
        { source: 'upstream' },
      );
    case Stage.STAGE_TUNNEL_REFUSED:
      return new TunnelRefused(failure.status, authority);
    case Stage.STAGE_TUNNEL_RESET:
      return new WeftError(
        'WEFT_TUNNEL_RESET',
        `the tunnel to ${authority} was reset: ${failure.why}`,
        upstream,
      );
    case Stage.STAGE_TUNNEL_TIMEOUT:
      return new WeftError(
        'WEFT_TUNNEL_TIMEOUT',
        failure.why || `no response to CONNECT ${authority}`,
        upstream,
      );
    case Stage.STAGE_NO_CERTIFICATE:
      return new WeftError(
        'WEFT_NO_CERTIFICATE',
        `no certificate for ${identity} yet: check the agent's connection to the control plane`,
        { retryable: true },
      );
    case Stage.STAGE_POD_GONE:
      return new WeftError('WEFT_POD_GONE', 'the destination left this node a moment ago', {
        retryable: true,
      });
    default:
      return new WeftError('WEFT_INTERNAL', `the carrier reports an unknown failure: ${failure.why}`);
  }
}

function connectError(
  code: 'WEFT_DIAL' | 'WEFT_TUNNEL_CONNECT',
  failure: Failure,
  to: SocketAddress | undefined,
  at: string,
): WeftError {
  const name = nameOf(failure.error);
  const reason = name === '' ? failure.why : `connect ${name} ${to ? `${to.ip}:${to.port}` : ''}`;
  return new WeftError(code, `cannot connect to ${at}: ${reason}`, {
    source: connectErrorSource({ code: name }),
    retryable: true,
  });
}
