import { claimRanks } from '../../../src/model/ownership.js';
import { addressClaims, hostClaim } from '../../registry/claims.js';
import { rulesMax } from './destination-rule/in-force.js';
import { hostsOf } from './hosts.js';
import { istioKind } from './istio-kind.js';
import { claimableAddresses, claimableHosts } from './entry-addresses.js';
import { recompileBeside } from './entry-dependents.js';
import { compileServiceEntry } from './service-entry-compile.js';
import { recompileVirtualServicesOfHost } from './virtual-service-dependents.js';
import { policiesOfEntry } from './security-dependents.js';

export const serviceEntryKind = istioKind(
  'ServiceEntry',
  { group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], plural: 'serviceentries' },
  {
    claims: (entry) =>
      entry.invalid === undefined
        ? {
            rank: claimRanks.reference,
            claimed: [...addressClaims(claimableAddresses(entry)), ...claimableHosts(entry).map(hostClaim)],
          }
        : undefined,
    dependents({ before, now, namespace, name }, registry, recompile) {
      recompile.objects(policiesOfEntry(namespace, name, registry));
      // Endpoints of several may have one address.
      recompileBeside([before, now], namespace, registry, recompile);
      // The status of a rule says that its host is of a ServiceEntry.
      for (const entry of [before, now])
        for (const host of entry ? hostsOf(entry) : []) {
          recompile.objects(registry.destinationRulesOf(host, namespace).slice(0, rulesMax));
          recompileVirtualServicesOfHost(namespace, host, registry, recompile);
        }
      for (const entry of [before, now])
        if (entry?.invalid === undefined) recompile.selected(namespace, entry?.spec.workloadSelector?.labels);
    },
    compile: compileServiceEntry,
  },
);
