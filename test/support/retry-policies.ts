/** Settings of the Service port that tests of waypoints use. */
import type { RetryPolicy, Timeouts } from '../../src/discovery/gen/weft.js';
import type { ServicePolicy, ServiceSettings } from '../../src/model/service-policy.js';
import { key } from './mesh.js';

const unsetRetry: RetryPolicy = {
  conditionKind: [],
  codes: [],
  grpcCodes: [],
  attempts: 2,
  perTryTimeoutMs: 0,
  backoffBaseMs: 1,
  backoffMsMax: 10,
  retryAfterMsMax: 0,
  unsafeMethods: [],
  hedge: false,
  dryRun: false,
};

/** The settings of the port `api:80`, as one TrafficPolicy sets them. */
export const settingsOfApi = (
  name: string,
  settings: Omit<ServiceSettings, 'retry' | 'timeouts'> & {
    readonly retry?: Partial<RetryPolicy>;
    readonly timeouts?: Partial<Timeouts>;
  },
): ServicePolicy => {
  const { retry, timeouts, ...more } = settings;
  return {
    service: key('api'),
    port: 80,
    ...more,
    ...(retry ? { retry: { ...unsetRetry, ...retry } } : {}),
    ...(timeouts ? { timeouts: { dryRun: false, ...timeouts } as Timeouts } : {}),
    origins: Object.keys(settings).map((setting) => ({ setting, object: `TrafficPolicy shop/${name}` })),
  };
};
