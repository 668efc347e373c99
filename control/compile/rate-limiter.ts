/** The rate limit service as a caller of the control plane: its name, its identity, and what it may receive. */
import { rateLimiterIdentity } from '../../src/model/rate-limit.js';
import type { TrustDomain } from '../../src/model/identity.js';
import { isService } from '../authentication/service-callers.js';
import { typeUrls } from '../../src/discovery/types.js';

/** Its name among the callers. No node's name has a colon. */
export const rateLimiterCaller = 'service:rate-limiter';

export const isRateLimiter = (caller: string): boolean => caller === rateLimiterCaller;

/** The resources that the rate limit service receives: which Gateways are waypoints, and when roots change. */
const received: ReadonlySet<string> = new Set([typeUrls.waypoint, typeUrls.trust]);

/** Whether a caller may receive resources of a type at all. */
export const mayReceive = (caller: string, typeUrl: string): boolean =>
  !isService(caller) || (isRateLimiter(caller) && received.has(typeUrl));

/** The one identity that the rate limit service may have a certificate for. */
export const mayHave = (identity: string, trustDomain: TrustDomain, rootNamespace: string): boolean =>
  identity === rateLimiterIdentity(trustDomain, rootNamespace);
