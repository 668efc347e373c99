import { claimRanks } from '../../../src/model/ownership.js';
import { recompileSelected } from '../../kinds/selectors.js';
import { addressClaims, hostClaim } from '../../registry/claims.js';
import { istioKind } from './istio-kind.js';
import { claimableAddresses, claimableHosts, compileServiceEntry } from './service-entry-compile.js';

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
    dependents({ before, now, namespace }, registry, recompile) {
      const selectors = [before, now].map((entry) =>
        entry?.invalid === undefined ? entry?.spec.workloadSelector?.labels : undefined,
      );
      if (selectors.some((one) => one !== undefined))
        recompileSelected(namespace, selectors, registry, recompile);
    },
    compile: compileServiceEntry,
  },
);
