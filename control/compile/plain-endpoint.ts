/** Compiles endpoints outside of the mesh. Pure. */
import { parseIp } from '../../src/model/address.js';
import { spiffeIdOf, type TrustDomain } from '../../src/model/identity.js';
import type { Workload, WorkloadUid } from '../../src/model/workload.js';
import { cluster } from './service.js';

/** An endpoint that uses plain TCP: no node enrolls it, and it cannot prove an identity. */
export function plainEndpoint(
  trustDomain: TrustDomain,
  uid: string,
  name: string,
  namespace: string,
  address: string,
  more: Pick<Workload, 'node' | 'healthy' | 'services'>,
): Workload {
  return {
    uid: uid as WorkloadUid,
    name,
    namespace,
    identity: spiffeIdOf({ trustDomain, namespace, serviceAccount: 'default' }),
    serviceAccount: 'default',
    addresses: [parseIp(address)],
    network: '',
    cluster,
    tunnel: 'none',
    policies: [],
    hostNetwork: false,
    workloadName: name,
    workloadType: 'pod',
    canonicalName: name,
    canonicalRevision: 'latest',
    ...more,
  };
}
