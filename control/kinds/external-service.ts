import { namespaceOf } from '../../src/model/labels.js';
import { claimRanks } from '../../src/model/ownership.js';
import { compileExternalService, externalProblem, hostOf } from '../compile/external-service.js';
import { objectKey } from '../objects/object-key.js';
import type { ExternalServiceObject } from '../objects/objects.js';
import { addressClaims, hostClaim } from '../registry/claims.js';
import { acceptedStatus } from '../status/accepted.js';
import type { Kind } from './kind.js';
import { pickOwn, type Raw } from './metadata.js';

export const externalServiceKind: Kind<ExternalServiceObject> = {
  address: { group: 'weft.dev', versions: ['v1alpha1'], plural: 'externalservices' },
  schema: 'crd',
  pickFields: (raw) => ({ kind: 'ExternalService', ...pickOwn(raw as Raw<ExternalServiceObject>) }),
  claims: (object) => ({
    rank: claimRanks.reference,
    claimed: [...addressClaims(object.spec.addresses), hostClaim(hostOf(object))],
  }),
  compile(object, { settings, registry }) {
    const key = objectKey(object);
    const { claims } = registry;
    const problem = externalProblem(key, object, claims);
    const conflict = problem ? { problem } : {};
    if (claims.hostLostTo(key, hostOf(object))) return { resources: [], ...conflict };
    const { service, endpoints } = compileExternalService(object, settings.trustDomain, {
      isExported: registry.isExported(namespaceOf(object)),
      has: (ip) => !claims.addressLostTo(key, ip),
    });
    return {
      resources: [
        { kind: 'service', value: service },
        ...endpoints.map((value) => ({ kind: 'workload', value }) as const),
      ],
      ...conflict,
    };
  },
  status: acceptedStatus,
};
