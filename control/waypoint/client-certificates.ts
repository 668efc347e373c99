/**
 * The Secrets with client certificates that the policies of each namespace name. The waypoints of that namespace mount them; the control
 * plane reads none of them. Pure.
 */
import {
  clientCertificateOption,
  clientCertificatesMax,
  parseSecretName,
  type SecretName,
} from '../../src/model/client-certificate.js';
import { credentialNames } from '../dialects/istio/destination-rule/credentials.js';
import type { IstioObject } from '../objects/istio.js';
import type { BackendTlsPolicyObject } from '../objects/objects.js';

/** The kinds of policies that may name a client certificate. */
export type CertificatePolicy = BackendTlsPolicyObject | IstioObject<'DestinationRule'>;

export interface MountedSecrets {
  /** Sorted: the template of the waypoint depends on nothing else. */
  readonly names: readonly SecretName[];
  /** Names beyond the limit: those of the newest policies. */
  readonly left: ReadonlySet<SecretName>;
}

/** The Secrets that a policy names, or its closed form. */
export function certificateNames(policy: CertificatePolicy): readonly SecretName[] {
  if (policy.kind === 'DestinationRule') return credentialNames(policy);
  const name = parseSecretName(policy.spec.options?.[clientCertificateOption]);
  return name === undefined ? [] : [name];
}

/** A list of the registry stays the same until its content changes. */
const known = new WeakMap<readonly CertificatePolicy[], MountedSecrets>();
/**
 * The Secrets that the waypoints of a namespace mount.
 * @param policies of the namespace, the oldest first: a new policy takes no certificate from one that works
 */
export function secretsToMount(policies: readonly CertificatePolicy[]): MountedSecrets {
  let found = known.get(policies);
  if (!found) {
    const all = [...new Set(policies.flatMap(certificateNames))];
    const left = new Set(all.slice(clientCertificatesMax));
    known.set(policies, (found = { names: all.slice(0, clientCertificatesMax).sort(), left }));
  }
  return found;
}
