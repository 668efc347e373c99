/** What TrafficSplits and TrafficTargets are indexed by. All names are of the object's own namespace. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type { SmiObject } from '../../objects/objects.js';
import { destinationOf, namedBySplit, namedByTarget, rootOf } from './specs.js';

export const accountKey = (namespace: string, account: string): string => `account ${namespace}/${account}`;
export const rootKey = (namespace: string, service: string): string => `root ${namespace}/${service}`;
export const serviceKey = (namespace: string, service: string): string => `service ${namespace}/${service}`;
/** All TrafficSplits of a namespace. */
export const splitsKey = (namespace: string): string => `in ${namespace}`;
/** @param kind as in the API: HTTPRouteGroup or TCPRoute */
export const routeKey = (kind: string, namespace: string, name: string): string =>
  `${kind} ${namespace}/${name}`;

export function keysOfTarget(object: SmiObject<'TrafficTarget'>): readonly string[] {
  const own = namespaceOf(object);
  const { namespace, account } = destinationOf(object);
  const routes = namedByTarget(object).map((one) => {
    const [kind = '', name = ''] = one.split(' ');
    return routeKey(kind, own, name);
  });
  return [...(account !== undefined && namespace === own ? [accountKey(own, account)] : []), ...routes];
}

export function keysOfSplit(object: SmiObject<'TrafficSplit'>): readonly string[] {
  const own = namespaceOf(object);
  const root = rootOf(object);
  const { services, groups } = namedBySplit(object);
  return [
    splitsKey(own),
    ...(root === undefined ? [] : [rootKey(own, root), serviceKey(own, root)]),
    ...services.map((one) => serviceKey(own, one)),
    ...groups.map((one) => routeKey('HTTPRouteGroup', own, one)),
  ];
}
