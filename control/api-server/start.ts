/** Starts the aggregated API: the server, the watch of its front proxy, and what it responds. */
import type { KubeConfig } from '@kubernetes/client-node';
import type { KeyAndCertificate } from '../../src/tls/issue.js';
import type { ChangeSource } from '../changes/replicas.js';
import type { EdgeSource } from '../edges/edge-source.js';
import type { ExplainSource } from '../explain/explained.js';
import type { TapSource } from '../taps/tap-source.js';
import type { ControlLog } from '../log.js';
import type { Registry } from '../registry/registry.js';
import { Authorizer } from './authorizer.js';
import { FrontProxyWatch } from './front-proxy-watch.js';
import type { ApiGroup, ApiGroupName, ApiResponse } from './api-group.js';
import { ComputedRates } from './computed-rates.js';
import { discoveryDocuments } from './discovery.js';
import type { User } from './front-proxy.js';
import { MetricsApi } from './metrics-api.js';
import { ObserveApi } from './observe-api.js';
import { metricsLookupOf } from './registry-lookup.js';
import { ApiServer } from './server.js';
import { StatusError } from './status.js';

export interface AggregatedApiOptions {
  readonly config: KubeConfig;
  /** ADDR:PORT */
  readonly listen: string;
  readonly certificate: KeyAndCertificate;
  readonly groups: readonly ApiGroupName[];
  readonly rootNamespace: string;
  readonly registry: Registry;
  readonly edges: EdgeSource;
  readonly changes: ChangeSource;
  readonly explanations: Pick<ExplainSource, 'query'>;
  readonly taps: TapSource;
  readonly onResponse: (code: number) => void;
  readonly onLimit: (limit: string) => void;
  readonly log: ControlLog;
  /** For tests: how often the front proxy's settings are read. */
  readonly checkMs?: number;
}

export interface AggregatedApi {
  readonly port: number;
  present(certificate: KeyAndCertificate): void;
  stop(): void;
}

/** Resolves when the server listens and the front proxy's settings were read once. Error: WEFT_LISTEN. */
export async function startAggregatedApi(options: AggregatedApiOptions): Promise<AggregatedApi> {
  const { config, onLimit, log } = options;
  const authorizer = new Authorizer(config, onLimit);
  const server = new ApiServer({ ...options, respond: responder(groupsOf(options, authorizer)) });
  const watch = new FrontProxyWatch({
    config,
    onChange: (frontProxy) => server.trust(frontProxy),
    log,
    ...(options.checkMs === undefined ? {} : { checkMs: options.checkMs }),
  });
  const port = await server.start();
  await watch.start();
  return {
    port,
    present: (certificate) => server.present(certificate),
    stop: () => {
      watch.stop();
      server.stop();
    },
  };
}

function groupsOf(
  { groups, registry, edges, changes, explanations, taps, rootNamespace, onLimit }: AggregatedApiOptions,
  authorizer: Authorizer,
): readonly ApiGroup[] {
  const rates = new ComputedRates(onLimit);
  const all: Readonly<Record<ApiGroupName, () => ApiGroup>> = {
    'observe.weft.dev': () =>
      new ObserveApi({ edges, changes, explanations, taps, authorizer, rootNamespace, rates, onLimit }),
    'metrics.smi-spec.io': () =>
      new MetricsApi({ edges, lookup: metricsLookupOf(registry), authorizer, rates, onLimit }),
  };
  return groups.map((name) => all[name]());
}

/** Sends each request to its group. Errors: StatusError. */
function responder(
  groups: readonly ApiGroup[],
): (user: User, target: string, accept: string) => Promise<ApiResponse> {
  const documents = discoveryDocuments(groups);
  return async (user, target, accept) => {
    const url = urlOf(target);
    const document = documents[url.pathname.replace(/\/$/, '')];
    if (document) return { body: document };
    const group = groups.find((one) => url.pathname.startsWith(`/apis/${one.group}/`));
    if (!group) throw new StatusError('NotFound', `${url.pathname.slice(0, 256)} is not served`);
    return group.respond(user, url, accept);
  };
}

function urlOf(target: string): URL {
  try {
    return new URL(target, 'https://localhost');
  } catch {
    throw new StatusError('BadRequest', 'the path cannot be parsed');
  }
}
