import { WeftError } from '../base/errors.js';
import type { Brand } from '../base/brand.js';

/** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>` */
export type SpiffeId = Brand<string, 'SpiffeId'>;
export type TrustDomain = Brand<string, 'TrustDomain'>;

export interface WorkloadIdentity {
  readonly trustDomain: TrustDomain;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const spiffeIdBytesMax = 2048;
const trustDomainPattern = /^[a-z0-9._-]{1,255}$/;
const segmentPattern = /^[a-zA-Z0-9._-]+$/;

function isSegment(text: string): boolean {
  return segmentPattern.test(text) && text !== '.' && text !== '..';
}

/** Throws WEFT_IDENTITY_INVALID. Source: SPIFFE-ID specification, section 2.1. */
export function parseTrustDomain(text: string): TrustDomain {
  if (!trustDomainPattern.test(text)) {
    throw new WeftError(
      'WEFT_IDENTITY_INVALID',
      `trust domain ${JSON.stringify(text.slice(0, 64))} may contain only a-z, 0-9, '.', '_' and '-'`,
    );
  }
  return text as TrustDomain;
}

/** Parses any well-formed SPIFFE ID with a path. Throws WEFT_IDENTITY_INVALID. Source: SPIFFE-ID specification, section 2. */
export function parseSpiffeId(text: string): SpiffeId {
  const refuse = (reason: string): never => {
    throw new WeftError(
      'WEFT_IDENTITY_INVALID',
      `${JSON.stringify(text.slice(0, 128))} is not a SPIFFE ID: ${reason}`,
    );
  };
  if (Buffer.byteLength(text) > spiffeIdBytesMax) refuse(`longer than ${spiffeIdBytesMax} bytes`);
  if (!text.startsWith('spiffe://')) refuse('the scheme is not spiffe://');
  const [domain = '', ...segments] = text.slice('spiffe://'.length).split('/');
  parseTrustDomain(domain);
  if (segments.length === 0) refuse('it has no path');
  for (const segment of segments)
    if (!isSegment(segment))
      refuse(
        'a path segment is empty, "." or "..", or has characters other than a-z, A-Z, 0-9, ".", "_" and "-"',
      );
  return text as SpiffeId;
}

export function spiffeIdOf(identity: WorkloadIdentity): SpiffeId {
  return parseSpiffeId(
    `spiffe://${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`,
  );
}

/** The workload identity of a SPIFFE ID; undefined if its path is not /ns/<x>/sa/<y>. */
export function workloadIdentityOf(id: SpiffeId): WorkloadIdentity | undefined {
  const [trustDomain, ns, namespace, sa, serviceAccount, ...rest] = id.slice('spiffe://'.length).split('/');
  if (ns !== 'ns' || sa !== 'sa' || rest.length > 0 || !namespace || !serviceAccount) return undefined;
  return { trustDomain: trustDomain as TrustDomain, namespace, serviceAccount };
}

/** The principal as policies and other implementations compare it: the SPIFFE ID without its scheme. */
export function principalOf(id: SpiffeId): string {
  return id.slice('spiffe://'.length);
}
