/** The client side of the TLS handshake of an HBONE connection. */
import type net from 'node:net';
import tls from 'node:tls';
import { errorText, WeftError } from '../base/errors.js';
import type { SpiffeId } from '../model/identity.js';
import { checkServerPeer } from '../tls/contexts.js';

interface HandshakeOptions {
  readonly context: tls.SecureContext;
  /** The server must prove one of these identities. */
  readonly expected: readonly SpiffeId[];
  /** The server's address, for error messages. */
  readonly destination: string;
  readonly timeoutMs: number;
}

/**
 * Secures a connected socket. The handshake owns the socket from the call on and destroys it on failure.
 * Errors, with source upstream: WEFT_TUNNEL_TLS, WEFT_TUNNEL_IDENTITY.
 */
export function secure(
  raw: net.Socket,
  { context, expected, destination, timeoutMs }: HandshakeOptions,
): Promise<{ readonly socket: tls.TLSSocket; readonly peer: SpiffeId }> {
  return new Promise((resolve, reject) => {
    let peer: SpiffeId | undefined;
    let mismatch: string | undefined;
    const socket = tls.connect({
      socket: raw,
      secureContext: context,
      ALPNProtocols: ['h2'],
      rejectUnauthorized: true,
      // Runs after the certificate chain is verified and before any data is sent. Only here is the server's name checked.
      checkServerIdentity: (_host, certificate) => {
        const check = checkServerPeer(certificate.subjectaltname, expected);
        if (check.ok) {
          peer = check.id;
          return undefined;
        }
        mismatch = check.reason;
        return new Error(check.reason);
      },
    });
    const timer = setTimeout(() => socket.destroy(new Error('handshake timed out')), timeoutMs);
    const fail = (error?: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      raw.destroy();
      const reason = mismatch ?? (error ? errorText(error) : 'the peer closed the connection');
      reject(
        new WeftError(
          mismatch === undefined ? 'WEFT_TUNNEL_TLS' : 'WEFT_TUNNEL_IDENTITY',
          `TLS with ${destination} failed: ${reason}`,
          { source: 'upstream', retryable: mismatch === undefined, cause: error },
        ),
      );
    };
    socket.once('error', fail);
    socket.once('close', fail);
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      socket.removeListener('error', fail);
      socket.removeListener('close', fail);
      if (socket.alpnProtocol !== 'h2' || peer === undefined)
        return fail(new Error('the peer does not speak h2'));
      socket.setNoDelay(true);
      resolve({ socket, peer });
    });
    raw.resume();
  });
}
