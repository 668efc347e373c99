/** Compiles a BackendTLSPolicy to the TLS that a waypoint speaks with the endpoints of a Service. Pure. */
import { X509Certificate } from 'node:crypto';
import type { EndpointTls } from '../../../src/discovery/gen/weft.js';
import { namespaceOf } from '../../../src/model/labels.js';
import { splitPem } from '../../../src/tls/certificate.js';
import { certificatesKey, type BackendTlsPolicyObject, type ConfigMapObject } from '../../objects/objects.js';
import { isCoreGroup } from './route-parents.js';

/** Larger certificates are not sent to waypoints. */
export const certificatesBytesMax = 64 * 1024;

/** Reasons of the Gateway API. The first is of the condition Accepted, the others are of ResolvedRefs. */
export interface TlsProblem {
  readonly reason: 'Invalid' | 'InvalidCACertificateRef' | 'InvalidKind';
  readonly message: string;
}
export type CompiledTls = { readonly tls: EndpointTls } | { readonly problem: TlsProblem };

export type ConfigMapLookup = (namespace: string, name: string) => ConfigMapObject | undefined;

/** The certificates of a ConfigMap. Error: it has none that can be read. */
function certificatesOf(configMap: ConfigMapObject): string {
  const text = configMap.data[certificatesKey] ?? '';
  if (text.length > certificatesBytesMax) throw new Error(`has more than ${certificatesBytesMax} bytes`);
  const found = splitPem(text);
  if (found.length === 0) throw new Error('has no certificate in PEM');
  for (const pem of found) new X509Certificate(pem);
  return found.join('');
}

/** Connections to the endpoints are refused if there is a problem: they are never plain in place of TLS. */
export function compileBackendTls(policy: BackendTlsPolicyObject, configMap: ConfigMapLookup): CompiledTls {
  const invalid = (message: string, reason: TlsProblem['reason'] = 'Invalid'): CompiledTls => ({
    problem: { reason, message },
  });
  if (policy.invalid !== undefined) return invalid(policy.invalid);
  const { options, validation } = policy.spec;
  const { hostname, caCertificateRefs = [], wellKnownCACertificates, subjectAltNames = [] } = validation;
  if (Object.keys(options ?? {}).length > 0) return invalid('spec.options are not supported');
  const names = subjectAltNames.map(({ type, hostname: name, uri }) => (type === 'URI' ? { uri } : { name }));
  if (names.some(({ name, uri }) => name === undefined && uri === undefined))
    return invalid('validation.subjectAltNames: a name of type Hostname needs hostname, one of type URI uri');
  const tls = (caCertificates: string): CompiledTls => ({
    tls: {
      hostname,
      caCertificates,
      dnsNames: names.flatMap(({ name }) => (name === undefined ? [] : [name.toLowerCase()])),
      uris: names.flatMap(({ uri }) => (uri === undefined ? [] : [uri])),
    },
  });
  if (caCertificateRefs.length > 0 && wellKnownCACertificates !== undefined)
    return invalid('validation: give either caCertificateRefs or wellKnownCACertificates');
  if (wellKnownCACertificates !== undefined)
    return wellKnownCACertificates === 'System'
      ? tls('')
      : invalid(
          `validation.wellKnownCACertificates: ${wellKnownCACertificates} is unknown: Weft knows System`,
        );
  if (caCertificateRefs.length === 0)
    return invalid('validation: give caCertificateRefs or wellKnownCACertificates');
  const bundles: string[] = [];
  for (const { group, kind, name } of caCertificateRefs) {
    if (!isCoreGroup(group) || kind !== 'ConfigMap')
      return invalid(`${kind} ${name}: only ConfigMaps are supported`, 'InvalidKind');
    const found = configMap(namespaceOf(policy), name);
    if (!found)
      return invalid(
        `there is no ConfigMap ${namespaceOf(policy)}/${name} with the key ${certificatesKey}`,
        'InvalidCACertificateRef',
      );
    try {
      bundles.push(certificatesOf(found));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return invalid(`${certificatesKey} of ConfigMap ${name}: ${why}`, 'InvalidCACertificateRef');
    }
  }
  return tls(bundles.join(''));
}
