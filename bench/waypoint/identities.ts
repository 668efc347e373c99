/** Certificates of one run: a root of its own, and an identity for each who takes part. */
import { assembleSvid } from '../../src/tls/certificate.js';
import { createCsr, createRoot, issueSvid, parseCsr } from '../../src/tls/issue.js';
import type { Svid } from '../../src/tls/svid.js';
import { WeftError } from '../../src/base/errors.js';
import { parseSpiffeId, type TrustDomain } from '../../src/model/identity.js';

export const trustDomain = 'cluster.local' as TrustDomain;
export const namespace = 'bench';

export interface Identities {
  readonly client: Svid;
  readonly waypoint: Svid;
  readonly server: Svid;
}

const ttlS = 24 * 3600;

export function makeIdentities(): Identities {
  const root = createRoot(trustDomain, ttlS);
  const make = (account: keyof Identities): Svid => {
    const id = parseSpiffeId(`spiffe://${trustDomain}/ns/${namespace}/sa/${account}`);
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
  return { client: make('client'), waypoint: make('waypoint'), server: make('server') };
}
