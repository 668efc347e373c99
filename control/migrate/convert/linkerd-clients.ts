/** Whom Linkerd's authorizations allow, as entries of `from` of an AccessPolicy. What has no form allows nobody, and is said. */
import { fieldsOf, listOf, textOf, textsOf, type Fields, type SourceObject } from '../load.js';

/** Whom an authorization allows. Undefined: everybody. An empty list: nobody. */
export type Clients = readonly Fields[] | undefined;
type Say = (field: string, message: string) => void;

const identityForm = /^([^.*]+|\*)\.([^.*]+)\.serviceaccount\.identity\.[^*]+$/;
const closed = 'closed: whom only this allows is denied';

/** An entry for an identity of Linkerd: `NAME.NAMESPACE.serviceaccount.identity.TRUST`, `*.NAMESPACE…` or `*`. */
function ofIdentity(identity: string, field: string, say: Say): Fields[] {
  if (identity === '*') return [{ identities: ['*'] }];
  const [, name, namespace] = identityForm.exec(identity) ?? [];
  if (name !== undefined && namespace !== undefined)
    return [name === '*' ? { namespaces: [namespace] } : { serviceAccounts: [`${namespace}/${name}`] }];
  say(field, `${identity} is no service account of the cluster, nor all of a namespace: ${closed}`);
  return [];
}
function ofAccount(name: string, namespace: string): Fields {
  return name === '*' ? { namespaces: [namespace] } : { serviceAccounts: [`${namespace}/${name}`] };
}

/** Entries with the same fields, joined: `serviceAccounts: [a, b]`. */
function joined(entries: readonly Fields[]): readonly Fields[] {
  const lists: Record<string, string[]> = {};
  for (const entry of entries)
    for (const [key, values] of Object.entries(entry)) (lists[key] ??= []).push(...textsOf(values));
  return Object.entries(lists).map(([key, values]) => ({ [key]: [...new Set(values)] }));
}

/** A MeshTLSAuthentication. */
function ofMeshTls({ value, namespace }: SourceObject, say: Say): readonly Fields[] {
  const spec = fieldsOf(value['spec']);
  const identities = textsOf(spec['identities']).flatMap((one) => ofIdentity(one, 'identities', say));
  const refs = listOf(spec['identityRefs']).flatMap((ref): Fields[] => {
    const [kind, name] = [textOf(ref['kind']), textOf(ref['name'])];
    if (kind === 'ServiceAccount' && name !== undefined)
      return [ofAccount(name, textOf(ref['namespace']) ?? namespace)];
    if (kind === 'Namespace' && name !== undefined) return [{ namespaces: [name] }];
    say('identityRefs', `${kind ?? 'a reference'} is neither a ServiceAccount nor a Namespace: ${closed}`);
    return [];
  });
  return joined([...identities, ...refs]);
}

/** Networks: a list of `{cidr, except}`. */
const ofNetworks = (networks: unknown): readonly Fields[] =>
  listOf(networks).map(({ cidr, except }) => ({
    cidrs: [cidr],
    ...(textsOf(except).length > 0 ? { notCidrs: textsOf(except) } : {}),
  }));

/** Clients that are in both. */
const both = (a: Clients, b: Clients): Clients =>
  a === undefined ? b : b === undefined ? a : a.flatMap((one) => b.map((other) => ({ ...one, ...other })));

/** Whom a ServerAuthorization allows. */
export function clientsOfServerAuthorization({ value, namespace }: SourceObject, say: Say): Clients {
  const client = fieldsOf(fieldsOf(value['spec'])['client']);
  const tls = fieldsOf(client['meshTLS']);
  const networks = client['networks'] === undefined ? undefined : ofNetworks(client['networks']);
  if (client['unauthenticated'] === true) return networks;
  if (tls['unauthenticatedTLS'] === true) {
    say('client.meshTLS.unauthenticatedTLS', `each identity in the mesh is proven: ${closed}`);
    return [];
  }
  const identities = textsOf(tls['identities']).flatMap((one) =>
    ofIdentity(one, 'client.meshTLS.identities', say),
  );
  const accounts = listOf(tls['serviceAccounts']).map((one) =>
    ofAccount(textOf(one['name']) ?? '', textOf(one['namespace']) ?? namespace),
  );
  return both(joined([...identities, ...accounts]), networks);
}

/** Whom an AuthorizationPolicy allows: clients that all of its authentications allow. */
export function clientsOfAuthorizationPolicy(
  { value, namespace }: SourceObject,
  find: (kind: string, namespace: string, name: string) => SourceObject | undefined,
  say: Say,
): Clients {
  let clients: Clients;
  let identities = 0;
  for (const ref of listOf(fieldsOf(value['spec'])['requiredAuthenticationRefs'])) {
    const [kind = '', name = ''] = [textOf(ref['kind']), textOf(ref['name'])];
    const own = textOf(ref['namespace']) ?? namespace;
    const field = 'requiredAuthenticationRefs';
    if (kind === 'ServiceAccount') {
      clients = both(clients, [ofAccount(name, own)]);
      identities++;
      continue;
    }
    const found = find(kind, own, name);
    if (!found) {
      say(field, `there is no ${kind} ${own}/${name} among what was given: ${closed}`);
      return [];
    }
    if (kind === 'MeshTLSAuthentication') {
      clients = both(clients, ofMeshTls(found, say));
      identities++;
    } else if (kind === 'NetworkAuthentication')
      clients = both(clients, ofNetworks(fieldsOf(found.value['spec'])['networks']));
    else {
      say(field, `${kind} is no authentication that convert knows: ${closed}`);
      return [];
    }
  }
  if (identities > 1) {
    say('requiredAuthenticationRefs', `a client has one identity, and several are required: ${closed}`);
    return [];
  }
  return clients;
}
