import type { TcpRouteObject } from '../objects/objects.js';
import { routeKind } from './route.js';

export const tcpRouteKind = routeKind<TcpRouteObject>('TCPRoute', 'tcproutes', ['v1', 'v1alpha2']);
