/** Certificate requests of nodes and waypoints (istio.v1.auth.IstioCertificateService): checks each, and issues. */
import { status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { errorText } from '../../src/base/errors.js';
import type { IstioCertificateRequest, IstioCertificateResponse } from '../../src/discovery/gen/ca.js';
import { parseSpiffeId, workloadIdentityOf, type SpiffeId } from '../../src/model/identity.js';
import { parseCsr } from '../../src/tls/csr.js';
import type { Caller } from '../authentication/authenticator.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import type { ControlLog } from '../log.js';
import type { CertificateAuthority } from './ca.js';

const ttlS = { min: 60, default: 86_400, max: 7 * 86_400 } as const;

export interface CertificateServiceOptions {
  readonly ca: CertificateAuthority;
  /** Error: WEFT_INTERNAL, where the call was not authenticated. */
  readonly callerOf: (call: CertificateCall) => Caller;
  /** True where some pod with this identity runs on the node; where the waypoint is it. */
  readonly mayRequestCertificate: (caller: string, identity: string) => boolean;
  /** Lifetime in seconds of all certificates; undefined: what is requested, within limits. */
  readonly certTtlS: number | undefined;
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
      // A proxy of one workload impersonates nobody. The name in its request is used instead, under the same check.
      const identity =
        (call.request.metadata as { ImpersonatedIdentity?: unknown } | undefined)?.ImpersonatedIdentity ??
        csr.value.uri;
      if (typeof identity !== 'string') {
        return refuse(
          status.INVALID_ARGUMENT,
          'no identity is asked for: neither metadata ImpersonatedIdentity nor one URI in the request',
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
          waypointOfCaller(node)
            ? `${identity.slice(0, 256)} is not the identity of ${node}, or its Gateway is not there`
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
