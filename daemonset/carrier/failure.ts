/** A failure that the carrier reports, as the error that the TypeScript relay has for it. Pure. */
import { getSystemErrorName } from 'node:util';
import { connectErrorSource } from '../../src/base/connect-error.js';
import { WeftError } from '../../src/base/errors.js';
import { TunnelRefused } from '../../src/hbone/endpoint-failure.js';
import { Stage, type Failure, type Target } from './gen/carrier.js';

const timedOut = 'ETIMEDOUT';

/** The name of an errno (`ECONNREFUSED`); empty if there is none. */
function nameOf(errno: number): string {
  if (!Number.isInteger(errno) || errno <= 0 || errno > 4095) return '';
  return getSystemErrorName(-errno);
}

/** `identity`: of the source pod. The carrier says why in the TypeScript relay's words. */
export function errorOf(failure: Failure, target: Target | undefined, identity: string): WeftError {
  const { why, error } = failure;
  const authority = target?.kind?.$case === 'tunnel' ? target.kind.value.authority : '';
  const upstream = { source: 'upstream', retryable: true } as const;
  const name = nameOf(error);
  // This machine's own want of descriptors or ports says nothing about the endpoint.
  const connect = { source: connectErrorSource({ code: name }), retryable: true };
  switch (failure.stage) {
    case Stage.STAGE_DIAL:
      return new WeftError(name === timedOut ? 'WEFT_DIAL_TIMEOUT' : 'WEFT_DIAL', why, connect);
    case Stage.STAGE_TUNNEL_CONNECT:
      return new WeftError('WEFT_TUNNEL_CONNECT', why, connect);
    case Stage.STAGE_TUNNEL_TLS: {
      // OpenSSL's text of an alert, as Node's code of it: a rejection of our own certificate says nothing about the endpoint either.
      const code = why.toUpperCase().replaceAll(/[^A-Z0-9]+/g, '_');
      return new WeftError('WEFT_TUNNEL_TLS', why, { ...upstream, cause: { code } });
    }
    case Stage.STAGE_TUNNEL_IDENTITY:
      return new WeftError('WEFT_TUNNEL_IDENTITY', why, { source: 'upstream' });
    case Stage.STAGE_TUNNEL_REFUSED:
      return new TunnelRefused(failure.status, authority);
    case Stage.STAGE_TUNNEL_RESET:
      return new WeftError('WEFT_TUNNEL_RESET', why, upstream);
    case Stage.STAGE_TUNNEL_TIMEOUT:
      return new WeftError('WEFT_TUNNEL_TIMEOUT', why, upstream);
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
      return new WeftError('WEFT_INTERNAL', `the carrier reports an unknown failure: ${why}`);
  }
}
