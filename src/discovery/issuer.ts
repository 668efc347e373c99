/** Asks the control plane for certificates: istio.v1.auth.IstioCertificateService, on behalf of a pod of this node. */
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { errorText, WeftError } from '../base/errors.js';
import type { SpiffeId } from '../model/identity.js';
import { IstioCertificateRequest, IstioCertificateResponse } from './gen/ca.js';

export type Issue = (csrPem: string, id: SpiffeId, ttlS: number) => Promise<readonly string[]>;

const deadlineMsMax = 10_000;

/** The returned function gives the chain, its last element the root bundle. Error: WEFT_CA. */
export function createIssuer(options: { target: string; rootPem: () => string; token: () => string }): Issue {
  const issue: Issue = (csr, id, ttlS) =>
    new Promise((resolve, reject) => {
      // One connection each: certificates are rare, and the roots to check the CA by may have rotated since the last.
      const client = new Client(options.target, credentials.createSsl(Buffer.from(options.rootPem())), {});
      const metadata = new Metadata();
      metadata.set('authorization', `Bearer ${options.token()}`);
      metadata.set('clusterid', 'Kubernetes');
      client.makeUnaryRequest(
        '/istio.v1.auth.IstioCertificateService/CreateCertificate',
        (message: IstioCertificateRequest) => Buffer.from(IstioCertificateRequest.encode(message).finish()),
        (bytes) => IstioCertificateResponse.decode(bytes),
        { csr, validityDuration: ttlS, metadata: { ImpersonatedIdentity: id } },
        metadata,
        { deadline: Date.now() + deadlineMsMax },
        (error, response) => {
          client.close();
          if (response) return resolve(response.certChain);
          reject(
            new WeftError('WEFT_CA', `the CA gave no certificate for ${id}: ${errorText(error)}`, {
              source: 'upstream',
              retryable: true,
              cause: error,
            }),
          );
        },
      );
    });
  return issue;
}
