/** Certificates for peers that get none from Weft's control plane. Each run has its own root. */
import { WeftError } from '../../src/base/errors.js';
import type { SpiffeId, TrustDomain } from '../../src/model/identity.js';
import { assembleSvid } from '../../src/tls/certificate.js';
import { createRoot, issueSvid } from '../../src/tls/issue.js';
import { createCsr, parseCsr } from '../../src/tls/csr.js';
import type { Svid } from '../../src/tls/svid.js';

export const trustDomain = 'cluster.local' as TrustDomain;
const ttlS = 24 * 3600;

/** Returns a function that issues certificates under one new root. */
export function issuer(): (id: SpiffeId) => Svid {
  const root = createRoot(trustDomain, ttlS);
  return (id) => {
    const { keyPem, csrPem } = createCsr(id);
    const asked = parseCsr(csrPem);
    if (!asked.ok) throw new WeftError('WEFT_START', asked.errors.join('; '));
    const leaf = issueSvid({
      csrPublicKeyPem: asked.value.publicKeyPem,
      caKeyPem: root.keyPem,
      caCertPem: root.certPem,
      id,
      ttlS,
    });
    return assembleSvid(id, keyPem, [leaf, root.certPem]);
  };
}
