/** Host names of Istio's resources. A name without a dot means a Service of the object's own namespace; any other name is complete. Pure. */
import type { MeshObject } from '../../objects/objects.js';
import { namespaceOf } from '../../../src/model/labels.js';

const serviceSuffix = '.svc.cluster.local';

/** The complete host name, in lower case. `*` and `*.example.com` stay as they are. */
export function completeHost(host: string, namespace: string): string {
  const lower = host.toLowerCase();
  return lower === '*' || lower.includes('.') ? lower : `${lower}.${namespace}${serviceSuffix}`;
}

/** The Service of a complete host name; undefined: the name is of no Service of the cluster. */
export function serviceOfHost(
  host: string,
): { readonly namespace: string; readonly name: string } | undefined {
  if (!host.endsWith(serviceSuffix)) return undefined;
  const [name = '', namespace = '', ...more] = host.slice(0, -serviceSuffix.length).split('.');
  return name === '' || namespace === '' || more.length > 0 ? undefined : { namespace, name };
}

export const hostOfService = (namespace: string, name: string): string =>
  `${name}.${namespace}${serviceSuffix}`;

/** A host and the wildcards that contain it, the most specific first. */
export function hostAndWildcards(host: string): readonly string[] {
  const labels = host.split('.');
  return [host, ...labels.slice(1).map((_, i) => `*.${labels.slice(i + 1).join('.')}`), '*'];
}

/** The complete host names that an object is about: of VirtualServices, DestinationRules and ServiceEntries. */
export function hostsOf(object: MeshObject): readonly string[] {
  const { spec } = object as { readonly spec?: { readonly host?: unknown; readonly hosts?: unknown } };
  const hosts =
    object.kind === 'DestinationRule'
      ? [spec?.host]
      : object.kind === 'VirtualService' || object.kind === 'ServiceEntry'
        ? spec?.hosts
        : [];
  // The spec of a closed form may have any content.
  return (Array.isArray(hosts) ? hosts : []).flatMap((host: unknown) =>
    typeof host === 'string' ? [completeHost(host, namespaceOf(object))] : [],
  );
}
