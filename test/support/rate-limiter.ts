/** Weft's rate limit service in this process, with certificates of the tests' root. */
import type { TestContext } from 'node:test';
import { rateLimiterIdentity } from '../../src/model/rate-limit.js';
import type { SpiffeId } from '../../src/model/identity.js';
import type { Counters } from '../../src/rate-limit/counters.js';
import { RateLimitServer, type RateLimitServerOptions } from '../../src/rate-limit/server.js';
import { GlobalLimits } from '../../src/waypoint/rate-limit/global/global-limits.js';
import { OwnService } from '../../src/waypoint/rate-limit/global/own-service.js';
import type { RateLimitService } from '../../src/waypoint/rate-limit/global/service.js';
import { svidOf } from './hbone.js';
import { domain } from './mesh.js';

export const limiterIdentity = rateLimiterIdentity(domain, 'weft-system');

interface TestRateLimiter {
  readonly server: RateLimitServer;
  readonly port: number;
  /** `<reason>` of each refused call. */
  readonly refused: string[];
  readonly limits: string[];
}

export async function startRateLimiter(
  t: TestContext,
  counters: Pick<Counters, 'count'>,
  more: Partial<RateLimitServerOptions> = {},
): Promise<TestRateLimiter> {
  const refused: string[] = [];
  const limits: string[] = [];
  const server = new RateLimitServer(
    {
      listen: '127.0.0.1:0',
      trustDomain: domain,
      counters,
      isWaypoint: ({ serviceAccount }) => serviceAccount === 'waypoint',
      onRefused: (why) => refused.push(why),
      onLimit: (limit) => limits.push(limit),
      onCounted: () => undefined,
      ...more,
    },
    svidOf(limiterIdentity),
  );
  const port = await server.listen();
  t.after(() => server.stop());
  return { server, port, refused, limits };
}

/** A client of the service with the certificate of `identity`. */
export function clientOf(t: TestContext, port: number, identity: SpiffeId): OwnService {
  const svid = svidOf(identity);
  const client = new OwnService({
    target: `127.0.0.1:${port}`,
    identity: limiterIdentity,
    svid: () => svid,
  });
  t.after(() => client.close());
  return client;
}

interface TestGlobalLimits {
  readonly limits: GlobalLimits;
  /** `<service>: <why>`, or `<service> responds`. */
  readonly events: string[];
  readonly reached: string[];
}

/** Global limits of one worker. */
export function globalLimitsOf(
  t: TestContext,
  own: (() => RateLimitService) | undefined,
  ofMesh: () => RateLimitService = () => {
    throw new Error('no service of the mesh');
  },
): TestGlobalLimits {
  const events: string[] = [];
  const reached: string[] = [];
  const limits = new GlobalLimits({
    own,
    ofMesh,
    onLimitReached: (limit) => void (reached.length < 1_000 && reached.push(limit)),
    onService: (service, failure) =>
      events.push(failure === undefined ? `${service} responds` : `${service}: ${failure}`),
  });
  t.after(() => limits.close());
  return { limits, events, reached };
}
