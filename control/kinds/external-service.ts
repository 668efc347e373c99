import { namespaceOf } from '../../src/model/labels.js';
import { claimRanks } from '../../src/model/ownership.js';
import {
  compileExternalService,
  endpointProblem,
  externalProblem,
  hostOf,
} from '../compile/external-service.js';
import { boundWaypoint, waypointResources } from '../compile/waypoint-resources.js';
import { recompileBeside } from '../dialects/istio/entry-dependents.js';
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
  dependents({ before, now, namespace }, registry, recompile) {
    // A ServiceEntry's endpoint may have one of its addresses.
    recompileBeside([before, now], namespace, registry, recompile);
  },
  compile(object, context) {
    const { settings, registry } = context;
    const key = objectKey(object);
    const { claims } = registry;
    const waypoint = boundWaypoint(object, context);
    const problem = externalProblem(key, object, claims) ?? (waypoint && endpointProblem(object));
    const conflict = problem ? { problem } : {};
    if (claims.hostLostTo(key, hostOf(object))) return { resources: [], ...conflict };
    const { service, endpoints } = compileExternalService(object, settings.trustDomain, {
      isExported: registry.isExported(namespaceOf(object)),
      has: (ip) => !claims.addressLostTo(key, ip),
      ...(waypoint ? { waypoint: waypoint.reference } : {}),
    });
    const target = { host: service.hostname, preference: 'none' } as const;
    return {
      resources: [
        { kind: 'service', value: service },
        ...endpoints.map((value) => ({ kind: 'workload', value }) as const),
        ...(waypoint?.served
          ? waypointResources(object, service, target, waypoint.served, context, undefined)
          : []),
      ],
      ...conflict,
    };
  },
  status: acceptedStatus,
};
