/** Serves certificate requests of nodes and waypoints (istio.v1.auth.IstioCertificateService). */
import { status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { errorText } from '../../src/base/errors.js';
import type { IstioCertificateRequest, IstioCertificateResponse } from '../../src/discovery/gen/ca.js';
import { parseSpiffeId, workloadIdentityOf, type SpiffeId } from '../../src/model/identity.js';
import { parseCsr } from '../../src/tls/csr.js';
import type { Caller } from '../authentication/authenticator.js';
import { isRateLimiter } from '../compile/rate-limiter.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import type { ControlLog } from '../log.js';
import type { CertificateAuthority } from './ca.js';

const ttlS = { min: 60, default: 86_400, max: 7 * 86_400 } as const;

export interface CertificateServiceOptions {
  readonly ca: CertificateAuthority;
  /** The authenticated caller. Error: WEFT_INTERNAL, if the call was not authenticated. */
  readonly callerOf: (call: CertificateCall) => Caller;
  /** Whether a pod with this identity runs on the node, or the waypoint itself has the identity. */
  readonly mayRequestCertificate: (caller: string, identity: string) => boolean;
  /** Lifetime in seconds of all certificates; undefined: the requested one, within limits. */
  readonly certTtlS: number | undefined;
  /** Called once per request. */
  readonly onCertificate?: ((issued: boolean) => void) | undefined;
  readonly log: ControlLog;
}

type CertificateCall = ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>;

/** The handler of `createCertificate`. */
export function certificateService({
  ca,
  callerOf,
  mayRequestCertificate,
  certTtlS,
  onCertificate,
  log,
}: CertificateServiceOptions) {
  return (call: CertificateCall, respond: sendUnaryData<IstioCertificateResponse>): void => {
    const refuse = (code: status, details: string, fields: object): void => {
      onCertificate?.(false);
      log.warn({ peer: call.getPeer(), ...fields }, `certificate refused: ${details}`);
      respond({ code, details });
    };
    try {
      const { name: node, namespaces } = callerOf(call);
      const csr = parseCsr(call.request.csr);
      if (!csr.ok) return refuse(status.INVALID_ARGUMENT, `bad request: ${csr.errors.join('; ')}`, { node });
      // A proxy of a single workload sends no ImpersonatedIdentity. The URI of its CSR is used instead, and authorized in the same way.
      const identity =
        (call.request.metadata as { ImpersonatedIdentity?: unknown } | undefined)?.ImpersonatedIdentity ??
        csr.value.uri;
      if (typeof identity !== 'string') {
        return refuse(
          status.INVALID_ARGUMENT,
          'no identity requested: set metadata ImpersonatedIdentity, or one URI in the CSR',
          { node },
        );
      }
      const namespace = workloadIdentityOf(identity as SpiffeId)?.namespace;
      if (namespaces && (namespace === undefined || !namespaces.includes(namespace))) {
        return refuse(
          status.UNAUTHENTICATED,
          `the token of ${node} is not for the namespace of ${identity.slice(0, 256)}`,
          { node },
        );
      }
      if (!mayRequestCertificate(node, identity)) {
        return refuse(
          status.UNAUTHENTICATED,
          waypointOfCaller(node) || isRateLimiter(node)
            ? `${identity.slice(0, 256)} is not the identity of ${node}${isRateLimiter(node) ? '' : ', or its Gateway does not exist'}`
            : `no pod with identity ${identity.slice(0, 256)} runs on node ${node}`,
          { node },
        );
      }
      const requestedS = call.request.validityDuration || ttlS.default;
      const lifetimeS = certTtlS ?? Math.min(Math.max(requestedS, ttlS.min), ttlS.max);
      respond(null, { certChain: ca.issue(csr.value.publicKeyPem, parseSpiffeId(identity), lifetimeS) });
      onCertificate?.(true);
      log.info({ node, identity }, 'certificate issued');
    } catch (error) {
      refuse(status.INTERNAL, errorText(error), {});
    }
  };
}
