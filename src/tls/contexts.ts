/** TLS settings of HBONE: version 1.3 only, mutual, ALPN h2, no SNI, peers identified only by SPIFFE ID. */
import { constants } from 'node:crypto';
import tls from 'node:tls';
import type { SpiffeId, TrustDomain } from '../model/identity.js';
import { spiffeIdOfNames } from './certificate.js';
import type { Svid } from './svid.js';

const ciphers = 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256';

/** A context for clients and servers. Creating it parses keys and certificates, so create it once per SVID. */
export function contextOf(svid: Svid): tls.SecureContext {
  return tls.createSecureContext(contextOptions(svid));
}

export function contextOptions(svid: Svid): tls.SecureContextOptions {
  return {
    key: svid.keyPem,
    cert: svid.chainPem,
    ca: svid.rootsPem,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ciphers,
    // No session resumption: OpenSSL does not check the dates of a resumed session's certificate, and each resumption issues a new ticket.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

type PeerCheck =
  { readonly ok: true; readonly id: SpiffeId } | { readonly ok: false; readonly reason: string };

/** Checks the identity of a server's certificate whose chain is already verified. Fails if no identity is expected. */
export function checkServerPeer(
  subjectAltName: string | undefined,
  expected: readonly SpiffeId[],
): PeerCheck {
  const id = spiffeIdOfNames(subjectAltName);
  if (!id.ok) return { ok: false, reason: id.errors.join('; ') };
  if (expected.length === 0) return { ok: false, reason: 'no identity is known for this destination' };
  if (!expected.includes(id.value))
    return { ok: false, reason: `the peer is ${id.value}, expected ${expected.join(' or ')}` };
  return { ok: true, id: id.value };
}

/** Checks the identity of a client's certificate whose chain is already verified: it must belong to `trustDomain`. */
export function checkClientPeer(subjectAltName: string | undefined, trustDomain: TrustDomain): PeerCheck {
  const id = spiffeIdOfNames(subjectAltName);
  if (!id.ok) return { ok: false, reason: id.errors.join('; ') };
  if (!id.value.startsWith(`spiffe://${trustDomain}/`)) {
    return { ok: false, reason: `${id.value} is not of trust domain ${trustDomain}` };
  }
  return { ok: true, id: id.value };
}
