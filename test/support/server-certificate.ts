/** A TLS server's certificate by a CA of its own. */
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot, issueServerCert } from '../../src/tls/issue.js';

export function serverCertificate(...dns: string[]): {
  readonly ca: string;
  readonly key: string;
  readonly cert: string;
} {
  const root = createRoot(parseTrustDomain('servers.test'), 86_400);
  const { keyPem, certPem } = issueServerCert({
    caKeyPem: root.keyPem,
    caCertPem: root.certPem,
    dns,
    ips: [],
    ttlS: 86_400,
  });
  return { ca: root.certPem, key: keyPem, cert: certPem };
}
