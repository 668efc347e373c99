/** How the control plane's metrics leave it: served for Prometheus, and sent to an OTLP collector. Both by options. */
import { parseListenAddress } from '../../src/base/listen-address.js';
import { metricsText } from '../../src/telemetry/exposition.js';
import { countLostTelemetry, exportMetrics, type OtlpOptions } from '../../src/telemetry/otlp/load.js';
import { serveRoutes, tokenIn } from '../../src/telemetry/servers.js';
import type { ControlMetrics } from './metrics.js';

export interface MetricsOptions extends OtlpOptions {
  /** ADDR:PORT for Prometheus; absent: metrics are not served. */
  readonly metricsListen?: string;
  /** A file with a token: remote clients that present it may read metrics with object names. */
  readonly metricsToken?: string;
}

/** `namespace`: of the control plane. Error: WEFT_LISTEN. */
export async function publishMetrics(
  { metricsListen, metricsToken, otlpMetricsEndpoint }: MetricsOptions,
  { registry }: ControlMetrics,
  namespace: string,
): Promise<{ close(): Promise<void> }> {
  const at = metricsListen === undefined ? undefined : parseListenAddress(metricsListen);
  const server =
    at &&
    (await serveRoutes(
      at.host,
      at.port,
      {
        '/metrics': {
          contentType: registry.contentType,
          read: ({ trusted }) => metricsText(registry, trusted),
        },
      },
      { token: tokenIn(metricsToken) },
    ));
  const otlp = await exportMetrics(otlpMetricsEndpoint, {
    program: { service: 'weft-control', namespace },
    read: () => registry.getMetricsAsJSON(),
    lost: countLostTelemetry(registry),
  });
  return {
    close: async () => {
      await otlp?.stop();
      await server?.close();
    },
  };
}
