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
import { namespaceOf } from '../../src/model/labels.js';
import { credentialNames } from '../dialects/istio/destination-rule/credentials.js';
import type { IstioObject } from '../objects/istio.js';
import { byAge } from '../objects/age.js';
import type { BackendTlsPolicyObject, MeshObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';

export interface MountedSecrets {
  /** Sorted: the template of the waypoint depends on nothing else. */
  readonly names: readonly SecretName[];
  /** Names beyond the limit: those of the newest policies. */
  readonly left: ReadonlySet<SecretName>;
}
export const noSecrets: MountedSecrets = { names: [], left: new Set() };

const namesIn = (policy: BackendTlsPolicyObject | IstioObject<'DestinationRule'>): readonly SecretName[] => {
  if (policy.kind === 'DestinationRule') return credentialNames(policy);
  // A closed form has no options.
  const name = parseSecretName(policy.spec.options?.[clientCertificateOption]);
  return name === undefined ? [] : [name];
};

/** By namespace; a namespace whose policies name none is absent. */
export function secretsToMount(policies: Pick<Registry, 'ofKind'>): ReadonlyMap<string, MountedSecrets> {
  const naming = new Map<string, { readonly policy: MeshObject; readonly names: readonly SecretName[] }[]>();
  for (const kind of ['BackendTLSPolicy', 'DestinationRule'] as const)
    for (const policy of policies.ofKind(kind)) {
      const names = namesIn(policy);
      if (names.length === 0) continue;
      const namespace = namespaceOf(policy);
      const list = naming.get(namespace);
      if (list) list.push({ policy, names });
      else naming.set(namespace, [{ policy, names }]);
    }
  return new Map([...naming].map(([namespace, list]) => [namespace, limited(list)]));
}

/** The oldest policies first: a new policy takes no certificate from one that works. */
function limited(
  list: readonly { readonly policy: MeshObject; readonly names: readonly SecretName[] }[],
): MountedSecrets {
  const ordered = [...list].sort((a, b) => byAge(a.policy, b.policy));
  const all = [...new Set(ordered.flatMap(({ names }) => names))];
  return {
    names: all.slice(0, clientCertificatesMax).sort(),
    left: new Set(all.slice(clientCertificatesMax)),
  };
}
