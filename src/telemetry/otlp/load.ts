/** Exports by OTLP, loaded only if an option asks for them: OpenTelemetry's SDK takes memory that most programs do not need. */
import { InvalidArgumentError } from 'commander';
import { Counter, type Registry } from 'prom-client';
import type { LogExport } from './log-export.js';
import type { OtlpProgram } from './resource.js';

export interface OtlpOptions {
  /** URL for metrics. Absent: none are sent. */
  readonly otlpMetricsEndpoint?: string;
}
export interface OtlpLogOptions extends OtlpOptions {
  /** URL for log records. Absent: none are sent. */
  readonly otlpLogsEndpoint?: string;
}

/** Parses the URL of a collector. Error: InvalidArgumentError, for commander. */
export function otlpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol))
    throw new InvalidArgumentError('Give a URL such as http://collector:4318/v1/metrics.');
  if (url.username !== '' || url.password !== '')
    throw new InvalidArgumentError(
      'Other users of the machine see the command line. Give credentials by the environment variable OTEL_EXPORTER_OTLP_HEADERS.',
    );
  return text;
}

export type LostTelemetry = (signal: 'metrics' | 'logs', count?: number) => void;

/** Counts what did not reach a collector. */
export function countLostTelemetry(registry: Registry): LostTelemetry {
  const lost = new Counter({
    name: 'weft_telemetry_lost_total',
    help: 'Intervals of metrics, and log records, that did not reach the OTLP collector',
    labelNames: ['signal'] as const,
    registers: [registry],
  });
  return (signal, count = 1) => lost.inc({ signal }, count);
}

export interface MetricSource {
  readonly program: OtlpProgram;
  /** All metrics of the program, as JSON of prom-client. */
  readonly read: () => Promise<readonly object[]>;
  readonly lost: LostTelemetry;
}

/** Undefined: no metrics are sent. */
export async function exportMetrics(
  url: string | undefined,
  { program, read, lost }: MetricSource,
): Promise<{ stop(): Promise<void> } | undefined> {
  if (url === undefined) return undefined;
  const { startMetricExport } = await import('./metric-export.js');
  return startMetricExport({ url, program, read, onLost: () => lost('metrics') });
}

/** Undefined: no log records are sent. */
export async function exportLogs(
  url: string | undefined,
  { program, lost }: Pick<MetricSource, 'program' | 'lost'>,
): Promise<LogExport | undefined> {
  if (url === undefined) return undefined;
  const { LogExport: Export } = await import('./log-export.js');
  return new Export({ url, program, onLost: (records) => lost('logs', records) });
}
