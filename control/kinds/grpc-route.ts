import type { GrpcRouteObject } from '../objects/objects.js';
import { routeKind } from './route.js';

export const grpcRouteKind = routeKind<GrpcRouteObject>('GRPCRoute', 'grpcroutes', ['v1']);
