/** Compiles a BackendTLSPolicy to the TLS that a waypoint speaks with the endpoints of a Service. Pure. */
import { X509Certificate } from 'node:crypto';
import { errorText } from '../../../src/base/errors.js';
import type { EndpointTls } from '../../../src/discovery/gen/weft.js';
import {
  clientCertificateOption,
  foreignCertificate,
  parseSecretName,
} from '../../../src/model/client-certificate.js';
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

/** The client certificate that the policy names; empty: none. Error: why it cannot be used. */
function clientCertificateOf(
  policy: BackendTlsPolicyObject,
  waypointNamespace: string | undefined,
): { readonly clientCertificate?: string } {
  const options = Object.entries(policy.spec.options ?? {});
  const other = options.find(([key]) => key !== clientCertificateOption)?.[0];
  if (other !== undefined)
    throw new Error(`spec.options: ${other} is not supported; Weft knows ${clientCertificateOption}`);
  const [option] = options;
  if (!option) return {};
  const name = parseSecretName(option[1]);
  if (name === undefined)
    throw new Error(`spec.options: ${clientCertificateOption}: not a name of a Secret of the namespace`);
  const problem =
    waypointNamespace === undefined
      ? undefined
      : foreignCertificate(name, waypointNamespace, namespaceOf(policy));
  if (problem !== undefined) throw new Error(`spec.options: ${problem}`);
  return { clientCertificate: name };
}

/**
 * Connections to the endpoints are refused if there is a problem: they are never plain in place of TLS.
 * @param waypointNamespace of the waypoint that the target takes; undefined: it takes none
 */
export function compileBackendTls(
  policy: BackendTlsPolicyObject,
  configMap: ConfigMapLookup,
  waypointNamespace: string | undefined,
): CompiledTls {
  const invalid = (message: string, reason: TlsProblem['reason'] = 'Invalid'): CompiledTls => ({
    problem: { reason, message },
  });
  if (policy.invalid !== undefined) return invalid(policy.invalid);
  const { validation } = policy.spec;
  const { hostname, caCertificateRefs = [], wellKnownCACertificates, subjectAltNames = [] } = validation;
  let client: ReturnType<typeof clientCertificateOf>;
  try {
    client = clientCertificateOf(policy, waypointNamespace);
  } catch (error) {
    return invalid(errorText(error));
  }
  const names = subjectAltNames.map(({ type, hostname: name, uri }) => (type === 'URI' ? { uri } : { name }));
  if (names.some(({ name, uri }) => name === undefined && uri === undefined))
    return invalid('validation.subjectAltNames: a name of type Hostname needs hostname, one of type URI uri');
  const tls = (caCertificates: string): CompiledTls => ({
    tls: {
      hostname,
      caCertificates,
      dnsNames: names.flatMap(({ name }) => (name === undefined ? [] : [name.toLowerCase()])),
      uris: names.flatMap(({ uri }) => (uri === undefined ? [] : [uri])),
      ...client,
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
      return invalid(
        `${certificatesKey} of ConfigMap ${name}: ${errorText(error)}`,
        'InvalidCACertificateRef',
      );
    }
  }
  return tls(bundles.join(''));
}
