/** Sends a program's metrics to an OTLP/HTTP collector, once per interval, by OpenTelemetry's SDK. */
import { ExportResultCode, type ExportResult } from '@opentelemetry/core';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import {
  AggregationTemporality,
  MeterProvider,
  PeriodicExportingMetricReader,
  type MetricProducer,
  type PushMetricExporter,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import { version } from '../../base/version.js';
import { metricDataOf, type MetricJson, type Start } from './metric-data.js';
import { resourceOf, type OtlpProgram } from './resource.js';

export interface MetricExportOptions {
  /** `http://collector:4318/v1/metrics` */
  readonly url: string;
  readonly program: OtlpProgram;
  /** The registry's metrics as JSON, with all labels. */
  readonly read: () => Promise<readonly object[]>;
  /** An interval's metrics did not reach the collector. The next interval's have all counts again. */
  readonly onLost: () => void;
  readonly intervalMs?: number;
}

const intervalMsDefault = 15_000;
const timeoutMsMax = 10_000;

/** Begins to send. `stop` sends once more, and waits at most a second for the collector. */
export function startMetricExport(options: MetricExportOptions): { stop(): Promise<void> } {
  const { url, program, read, onLost } = options;
  const intervalMs = options.intervalMs ?? intervalOf(process.env['OTEL_METRIC_EXPORT_INTERVAL']);
  const timeoutMs = Math.min(timeoutMsMax, intervalMs);
  const otlp = new OTLPMetricExporter({
    url,
    timeoutMillis: timeoutMs,
    temporalityPreference: AggregationTemporality.CUMULATIVE,
  });
  const exporter: PushMetricExporter = {
    export: (metrics: ResourceMetrics, done: (result: ExportResult) => void) =>
      otlp.export(metrics, (result) => {
        if (result.code !== ExportResultCode.SUCCESS) onLost();
        // The loss is counted. As an error it would reach the SDK's own log, which nobody reads.
        done({ code: ExportResultCode.SUCCESS });
      }),
    forceFlush: () => otlp.forceFlush(),
    shutdown: () => otlp.shutdown(),
  };
  const resource = resourceOf(program);
  let starts: ReadonlyMap<string, Start> = new Map();
  let formerMs = Date.now() - process.uptime() * 1000;
  const producer: MetricProducer = {
    collect: async () => {
      const nowMs = Date.now();
      const converted = metricDataOf((await read()) as MetricJson[], starts, { nowMs, formerMs });
      ({ starts } = converted);
      formerMs = nowMs;
      const scopeMetrics = [{ scope: { name: 'weft', version }, metrics: converted.metrics }];
      return { resourceMetrics: { resource, scopeMetrics }, errors: [] };
    },
  };
  const reader = new PeriodicExportingMetricReader({
    exporter,
    exportIntervalMillis: intervalMs,
    exportTimeoutMillis: timeoutMs,
    metricProducers: [producer],
  });
  const provider = new MeterProvider({ resource, readers: [reader] });
  return { stop: () => provider.shutdown({ timeoutMillis: 1_000 }).catch(() => undefined) };
}

/** OpenTelemetry's own variable for the interval, in milliseconds. */
const intervalOf = (text: string | undefined): number =>
  text !== undefined && /^[1-9]\d{2,6}$/.test(text) ? Number(text) : intervalMsDefault;
