/** What Weft does with each field of a ServiceEntry, and of the endpoints that it has in common with a WorkloadEntry. */
import { closes, differs, nothing, works, type FieldTable } from '../fields.js';

const plain = 'an endpoint without an agent proves no identity, and is sent plain TCP';

/** The fields of an endpoint. @param at their path, with a dot at its end */
export const endpointFields = (at: string): FieldTable => ({
  [`${at}address`]: differs(
    'an IP address works. A host name outside of the cluster works with a resolution by DNS. A Unix socket (`unix://`) is no endpoint',
  ),
  [`${at}ports`]: works,
  [`${at}labels`]: nothing('endpoints of ServiceEntries are in no subset'),
  [`${at}network`]: nothing('Weft knows one network; an endpoint without an address is left out'),
  [`${at}locality`]: differs('a waypoint of its host prefers near endpoints; a node does not'),
  [`${at}weight`]: differs('a waypoint of its host distributes by weight; a node evenly'),
  [`${at}serviceAccount`]: nothing(plain, 'a Workload with an agent on the machine (external.md)'),
});

export const serviceEntryFields: FieldTable = {
  hosts: differs(
    'Weft answers no DNS query: a host is recognized by its `addresses`, or, without any, by those of its endpoints, also by those that DNS gives. A name of the cluster (`*.cluster.local`) belongs to its Service: it is refused with the reason `HostConflict`, and the other hosts are in force',
  ),
  addresses: differs(
    'single addresses work. A larger block (`10.0.0.0/8`) has no effect. An address that another object owns stays with it: reason `AddressConflict`',
  ),
  'ports[].number': works,
  'ports[].name': works,
  'ports[].protocol': works,
  'ports[].protocol=UDP': nothing('Weft carries TCP'),
  'ports[].targetPort': works,
  'location=MESH_EXTERNAL': works,
  location: differs(
    'each endpoint decides: a pod or Workload of the mesh is reached with mutual TLS, any other with plain TCP',
  ),
  'resolution=NONE': works,
  'resolution=STATIC': works,
  'resolution=DYNAMIC_DNS': closes('it needs a proxy that resolves the name in each request'),
  resolution: differs(
    'the control plane resolves the names, for all clients alike, every 30 s to 5 min by their TTL; Weft balances over all addresses found. Names of the cluster, and addresses of its Nodes, pods and Services, of the loopback and of the link are left out. limits.md says how many names',
  ),
  ...endpointFields('endpoints[].'),
  'workloadSelector.labels': works,
  exportTo: differs(
    'other namespaces see the object only if its namespace has the label `weft.dev/export=enabled`, and then all of them, by its `addresses`',
  ),
  'exportTo[]=.': works,
  subjectAltNames: nothing(
    'a tunnel verifies the identity of the workload that discovery states; nothing else is verified',
  ),
};
