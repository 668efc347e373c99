/** The waypoint's own certificate, requested with its service account's token. */
import type { Logger } from 'pino';
import { systemClock } from '../base/clock.js';
import { errorText } from '../base/errors.js';
import { createCertificateClient } from '../discovery/certificate-client.js';
import type { SpiffeId } from '../model/identity.js';
import { CertificateManager, ownKeys } from '../tls/certificate-manager.js';
import type { Svid } from '../tls/svid.js';

const certificateTtlS = 86_400;

interface CertificateOptions {
  readonly identity: SpiffeId;
  /** The control plane, `addr:port`. */
  readonly control: string;
  readonly rootPem: () => string;
  readonly token: () => string;
  readonly log: Logger;
  readonly onSvid: (svid: Svid) => void;
}

export function createCertificates({
  identity,
  control,
  rootPem,
  token,
  log,
  onSvid,
}: CertificateOptions): CertificateManager {
  return new CertificateManager({
    keys: ownKeys,
    issue: createCertificateClient({ target: control, rootPem, token }),
    clock: systemClock,
    random: Math.random,
    ttlS: certificateTtlS,
    onSvid: (svid) => {
      log.info(
        { identity, serial: svid.serial, notAfter: new Date(svid.notAfterMs).toISOString() },
        'certificate issued',
      );
      onSvid(svid);
    },
    onError: (id, error, retryInMs) =>
      log.warn({ identity: id, error: errorText(error), retryInMs }, 'certificate request failed'),
  });
}
