/** The common table entry of the four kinds of routes. */
import { compileRoute } from '../dialects/gateway/routes.js';
import { servicesOf } from '../dialects/gateway/route-references.js';
import { rootKey } from '../dialects/smi/index-keys.js';
import { gatewayGroup, type RouteObject } from '../objects/objects.js';
import { routeStatus } from '../status/route.js';
import { recompileVirtualServicesOf } from '../dialects/istio/virtual-service-dependents.js';
import type { Kind, KindAddress } from './kind.js';
import { withGeneration, type Raw } from './metadata.js';

/** @param versions newest first: older clusters serve some kinds only in older versions */
export function routeKind<T extends RouteObject>(
  kind: T['kind'],
  plural: string,
  versions: KindAddress['versions'],
): Kind<T> {
  return {
    address: { group: gatewayGroup, versions, plural, optional: true },
    schema: 'gateway',
    pickFields: (raw) => pickRoute(kind, raw as Raw<RouteObject>) as unknown as T,
    dependents({ before, now, namespace }, registry, recompile) {
      for (const route of [before, now])
        for (const service of route ? servicesOf(route).parents : []) {
          // Routes of one kind do not conflict.
          recompile.objects(
            registry.routesAttached(service, namespace).filter((other) => other.kind !== kind),
          );
          // Routes of the Gateway API take their ports from other meshes' objects.
          const [of = '', name = ''] = service.split('/');
          recompileVirtualServicesOf(of, name, namespace, registry, recompile);
          recompile.objects(registry.trafficSplitsOf(rootKey(of, name)));
        }
    },
    compile(object, { registry }) {
      const { route } = compileRoute(object, registry);
      return { resources: route ? [{ kind: 'route', value: route }] : [] };
    },
    status: routeStatus,
  };
}

function pickRoute(kind: RouteObject['kind'], raw: Raw<RouteObject>): object {
  const { resourceVersion } = raw.metadata;
  return {
    ...(raw.apiVersion === undefined ? {} : { apiVersion: raw.apiVersion }),
    kind,
    metadata: {
      ...withGeneration(raw.metadata),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    },
    spec: raw.spec,
    ...(raw.status?.parents ? { status: { parents: raw.status.parents } } : {}),
  };
}
