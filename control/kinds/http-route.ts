import type { HttpRouteObject } from '../objects/objects.js';
import { routeKind } from './route.js';

export const httpRouteKind = routeKind<HttpRouteObject>('HTTPRoute', 'httproutes', ['v1']);
