/** Weft's configuration for resilience/scene.ts: one Service, and its policy as the control plane merges it. */
import type * as pb from '../../../src/discovery/gen/weft.js';
import type { Port } from '../../../src/model/address.js';
import type { RouteFilter } from '../../../src/model/route.js';
import type { ServicePolicy, ServiceSettings } from '../../../src/model/service-policy.js';
import { writeWeftConfig, type PlainConfig } from '../config.js';
import { here, keyOf, service, serviceAddress, servicePort, workload } from '../weft.js';
import {
  breakers,
  budget,
  clientLimit,
  few,
  keyHeader,
  open,
  outliersOf,
  retries,
  type Features,
  type ResilienceScene,
} from './scene.js';

const limit = (
  key: pb.RateLimitKey,
  { requests, perMs }: { readonly requests: number; readonly perMs: number },
): RouteFilter => ({
  $case: 'localRateLimit',
  value: {
    name: 'TrafficPolicy bench/main limit',
    matches: [],
    keys: [key],
    requests,
    perMs,
    burst: requests,
    dryRun: false,
  },
});
const byAddress: pb.RateLimitKey = { kind: 'client-address', name: '' };

function outlierDetection(features: Features): Pick<ServiceSettings, 'outlierDetection'> {
  const outliers = outliersOf[features];
  if (!outliers) return {};
  const common = {
    ejectionMsMax: 300_000,
    ejectionJitterMs: 0,
    alwaysEjectOne: true,
    successRateRequestsMin: 100,
    splitsLocalErrors: false,
    successRateStdevFactor: 1900,
    dryRun: false,
  };
  return { outlierDetection: { ...outliers, ...common } };
}

const retry: pb.RetryPolicy = {
  conditionKind: ['5xx'],
  codes: [],
  grpcCodes: [],
  attempts: retries,
  perTryTimeoutMs: 0,
  backoffBaseMs: 25,
  backoffMsMax: 250,
  retryAfterMsMax: 0,
  unsafeMethods: [],
  hedge: false,
  dryRun: false,
};

const settingsOf: Readonly<Record<Features, ServiceSettings>> = {
  none: {},
  all: {
    loadBalancing: { kind: { $case: 'leastRequest', value: { choices: 2 } }, slowStart: undefined },
    connectionsMax: breakers.connections,
    pendingRequestsMax: breakers.pending,
    pendingTimeoutMs: 5000,
    requestsMax: breakers.requests,
    clientConnectionsMax: breakers.connections,
    clientPendingRequestsMax: breakers.pending,
    clientRequestsMax: breakers.requests,
    retry,
    retryBudgetPercent: budget.percent,
    retryBudgetMin: budget.min,
    filters: [limit(byAddress, open)],
  },
  keys: { filters: [limit({ kind: 'header', name: keyHeader }, open)] },
  ejection: {},
  share: {},
  breaker: { requestsMax: few },
  fair: {
    clientRequestsMax: clientLimit.underWay,
    filters: [limit({ kind: 'client-identity', name: '' }, clientLimit)],
  },
};

/** The policy of the Service's port; undefined without a feature. */
const policyOf = (features: Features): ServicePolicy | undefined =>
  features === 'none'
    ? undefined
    : {
        service: keyOf('main'),
        port: servicePort,
        origins: [],
        ...settingsOf[features],
        ...outlierDetection(features),
      };

/** For plain.ts. */
export function resilientWeft({ listen, endpoints, features }: ResilienceScene): string {
  const policy = policyOf(features);
  const config: PlainConfig = {
    listen: { ip: here, port: listen as Port },
    service: keyOf('main'),
    servicePort,
    mesh: {
      workloads: endpoints.map((port, at) => workload(`main-${at}`, port, 'http1', undefined, 'main')),
      services: [service('main', serviceAddress.ip, endpoints[0] ?? 0, 'http1')],
    },
    routes: [],
    servicePolicies: policy ? [policy] : [],
    ...(features === 'fair' ? { identities: true } : {}),
  };
  return writeWeftConfig(config);
}
