/** Requests certificates for pods of this node from the control plane (istio.v1.auth.IstioCertificateService). */
import { errorText, WeftError } from '../base/errors.js';
import type { SpiffeId } from '../model/identity.js';
import { IstioCertificateRequest, IstioCertificateResponse } from './gen/ca.js';
import { unaryCall, type ControlPlane } from './unary-call.js';

export type RequestCertificate = (csrPem: string, id: SpiffeId, ttlS: number) => Promise<readonly string[]>;

const method = {
  path: '/istio.v1.auth.IstioCertificateService/CreateCertificate',
  encode: (message: IstioCertificateRequest) => IstioCertificateRequest.encode(message).finish(),
  decode: (bytes: Uint8Array) => IstioCertificateResponse.decode(bytes),
};

/** The returned function resolves with the certificate chain (PEM); its last element is the root bundle. Error: WEFT_CA. */
export function createCertificateClient(control: ControlPlane): RequestCertificate {
  return async (csr, id, ttlS) => {
    try {
      const request = { csr, validityDuration: ttlS, metadata: { ImpersonatedIdentity: id } };
      return (await unaryCall(control, method, request)).certChain;
    } catch (error) {
      throw new WeftError('WEFT_CA', `the CA issued no certificate for ${id}: ${errorText(error)}`, {
        source: 'upstream',
        retryable: true,
        cause: error,
      });
    }
  };
}
