/** Serves a waypoint's metrics and readiness to everyone, and its status and dump at the admin address only. */
import { AggregatorRegistry, collectDefaultMetrics, type Registry } from 'prom-client';
import { WeftError } from '../base/errors.js';
import { version } from '../base/version.js';
import { parseListenAddress } from '../base/listen-address.js';
import type { DiscoveryClient } from '../discovery/client.js';
import { metricsJson } from '../telemetry/exposition.js';
import { exemplarsOf, openMetricsText } from '../telemetry/openmetrics.js';
import { countLostTelemetry, exportMetrics, type OtlpOptions } from '../telemetry/otlp/load.js';
import type { OtlpProgram } from '../telemetry/otlp/resource.js';
import { programMetrics } from '../telemetry/program-metrics.js';
import { serveRoutes, tokenIn, type Asker } from '../telemetry/servers.js';
import { undecodableGauge } from '../telemetry/undecodable.js';
import type { Svid } from '../tls/svid.js';
import type { ClientCertificateProblem } from './client-certificate-files.js';
import type { WaypointState } from './state/waypoint-state.js';
import type { WorkerPool } from './worker/worker-pool.js';

interface AdminOptions extends OtlpOptions {
  readonly gateway: string;
  /** `addr:port`, as is `adminListen`. */
  readonly metricsListen: string;
  readonly adminListen: string;
  readonly metricsToken: string | undefined;
  readonly program: OtlpProgram;
  /** Metrics of the main process. */
  readonly registry: Registry;
  readonly state: WaypointState;
  readonly workers: WorkerPool;
  readonly discovery: DiscoveryClient;
  readonly svid: () => Svid | undefined;
  readonly clientCertificates: () => readonly ClientCertificateProblem[];
  readonly control: () => { readonly state: string; readonly why: string };
  /** Why the waypoint is not ready; undefined if it is. The reason names the control plane. */
  readonly notReady: () => string | undefined;
}

/** Listens at both addresses. Errors: WEFT_LISTEN, and those of listening. */
export async function serveAdmin(options: AdminOptions): Promise<{ close(): Promise<void> }> {
  const { state, workers, discovery, notReady, registry: own } = options;
  collectDefaultMetrics({ register: own, prefix: 'weft_' });
  undecodableGauge(own, () => discovery.undecodable());
  programMetrics(own, {
    isConnected: () => options.control().state === 'connected',
    certificates: () => {
      const svid = options.svid();
      return svid ? [svid.notAfterMs] : [];
    },
  });
  const aggregated = async (names: boolean) => {
    const ofWorkers = await workers.readMetrics(names);
    return {
      ofWorkers,
      registry: AggregatorRegistry.aggregate([...ofWorkers, await metricsJson(own, names)]),
    };
  };
  const metricExport = await exportMetrics(options.otlpMetricsEndpoint, {
    program: options.program,
    read: async () => (await aggregated(true)).registry.getMetricsAsJSON(),
    lost: countLostTelemetry(own),
  });
  const status = (): string => {
    const svid = options.svid();
    return JSON.stringify({
      gateway: options.gateway,
      version,
      ready: notReady() === undefined,
      workers: workers.size,
      control: options.control(),
      undecodable: discovery.undecodable(),
      clientCertificates: options.clientCertificates(),
      certificate: svid && { serial: svid.serial, notAfter: new Date(svid.notAfterMs).toISOString() },
    });
  };
  const readiness = {
    contentType: 'text/plain',
    // Only clients of the waypoint's own pod see the reason.
    read: ({ trusted }: Asker): string => {
      const why = notReady();
      if (why === undefined) return 'ready\n';
      return trusted ? `not ready: ${why}\n` : 'not ready\n';
    },
    status: () => (notReady() === undefined ? 200 : 503),
  };
  const json = 'application/json';
  const metricsServer = await serveAt(
    options.metricsListen,
    {
      '/metrics': {
        contentType: own.contentType,
        read: async ({ trusted }) => (await aggregated(trusted)).registry.metrics(),
        readOpenMetrics: async () => {
          const { ofWorkers, registry } = await aggregated(true);
          return openMetricsText(await registry.getMetricsAsJSON(), exemplarsOf(ofWorkers));
        },
      },
      '/healthz/ready': readiness,
    },
    tokenIn(options.metricsToken),
  );
  const adminServer = await serveAt(options.adminListen, {
    '/status': { contentType: json, read: status },
    '/clusters': { contentType: json, read: async () => JSON.stringify(await workers.readClusters()) },
    '/dump': { contentType: json, read: () => JSON.stringify(state.dump()) },
  });
  return {
    close: async () => {
      await metricExport?.stop();
      await metricsServer.close();
      await adminServer.close();
    },
  };
}

function serveAt(
  at: string,
  routes: Parameters<typeof serveRoutes>[2],
  token?: () => string | undefined,
): ReturnType<typeof serveRoutes> {
  const address = parseListenAddress(at);
  if (!address) throw new WeftError('WEFT_LISTEN', `${at} is not <addr>:<port>`);
  return serveRoutes(address.host, address.port, routes, { ...(token ? { token } : {}) });
}
