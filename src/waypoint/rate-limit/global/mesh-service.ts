/** A service of the mesh that speaks Envoy's rate limit API v3, reached as any backend, with the waypoint's identity. */
import type { RequestContext } from '../../worker/context.js';
import type { MeshService } from './global-limits.js';
import type { RateLimitService } from './service.js';

/** Calls under way: each is for one key, because only Weft's own service grants several keys in one. */
const callsMax = 64;

export const meshService = (
  _context: () => RequestContext,
  _target: MeshService['target'],
): RateLimitService => ({
  descriptorsMax: 1,
  callsMax,
  grantsParts: false,
  call: () => Promise.reject(new Error('not built yet')),
  reset: () => undefined,
  close: () => undefined,
});
