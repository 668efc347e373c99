/** Starts the aggregated API: the server, the watch of its front proxy, and what it responds. */
import type { KubeConfig } from '@kubernetes/client-node';
import type { KeyAndCertificate } from '../../src/tls/issue.js';
import type { EdgeSource } from '../edges/edge-source.js';
import type { ControlLog } from '../log.js';
import type { Registry } from '../registry/registry.js';
import { Authorizer } from './authorizer.js';
import { FrontProxyWatch } from './front-proxy-watch.js';
import { MetricsApi } from './metrics-api.js';
import { metricsLookupOf } from './registry-lookup.js';
import { ApiServer } from './server.js';

export interface AggregatedApiOptions {
  readonly config: KubeConfig;
  /** ADDR:PORT */
  readonly listen: string;
  readonly certificate: KeyAndCertificate;
  readonly registry: Registry;
  readonly edges: EdgeSource;
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
  const { config, registry, edges, onLimit, log } = options;
  const authorizer = new Authorizer(config, onLimit);
  const api = new MetricsApi({ edges, lookup: metricsLookupOf(registry), authorizer, onLimit });
  const server = new ApiServer({ ...options, respond: (...of) => api.respond(...of) });
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
