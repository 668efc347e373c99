import type { TlsRouteObject } from '../objects/objects.js';
import { routeKind } from './route.js';

export const tlsRouteKind = routeKind<TlsRouteObject>('TLSRoute', 'tlsroutes', [
  'v1',
  'v1alpha3',
  'v1alpha2',
]);
