/**
 * Client certificates for endpoints outside of the mesh: how a policy names one, and where a waypoint finds it. Only names are sent by
 * discovery. The key is in a Secret of the waypoint's own namespace, which the kubelet mounts. Pure.
 */
import type { Brand } from '../base/brand.js';

/** The name of a Secret, which is also the name of a directory of the waypoint. Made by `parseSecretName` only. */
export type SecretName = Brand<string, 'SecretName'>;

/** Key of `spec.options` of a BackendTLSPolicy. */
export const clientCertificateOption = 'weft.dev/client-certificate';
/** Secrets that the waypoints of one namespace mount, and pairs that a waypoint reads. */
export const clientCertificatesMax = 16;
/** Keys of a Secret of type kubernetes.io/tls, and names of the files. */
export const certificateFile = 'tls.crt';
export const keyFile = 'tls.key';

/** RFC 1123, as the API server demands it of names of Secrets. Such a name has no slash, and does not begin with a dot. */
const dnsSubdomain = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Undefined: no Secret can have this name. */
export const parseSecretName = (text: unknown): SecretName | undefined =>
  typeof text === 'string' && dnsSubdomain.test(text) ? (text as SecretName) : undefined;

/**
 * Why a waypoint shows no certificate of its namespace's Secrets; undefined: it does. Each namespace uses its own Secrets alone.
 * @param others namespaces of the policy and of its target
 */
export const foreignCertificate = (
  secret: string,
  waypointNamespace: string,
  ...others: readonly string[]
): string | undefined => {
  const other = others.find((one) => one !== waypointNamespace);
  return other === undefined
    ? undefined
    : `client certificate ${secret}: the waypoint is in namespace ${waypointNamespace}, and shows certificates only for policies and targets of that namespace; use a waypoint of namespace ${other}`;
};
