/** Sends log records to an OTLP/HTTP collector by OpenTelemetry's SDK. The queue is bounded; records beyond it are lost and counted. */
import { ROOT_CONTEXT, trace, TraceFlags, type Attributes } from '@opentelemetry/api';
import { SeverityNumber, type Logger } from '@opentelemetry/api-logs';
import { ExportResultCode, type ExportResult } from '@opentelemetry/core';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-proto';
import {
  BatchLogRecordProcessor,
  LoggerProvider,
  type LogRecordExporter,
  type ReadableLogRecord,
} from '@opentelemetry/sdk-logs';
import { FairLimit } from '../../base/fair-limit.js';
import { version } from '../../base/version.js';
import type { TraceIds } from './trace-ids.js';
import { resourceOf, type OtlpProgram } from './resource.js';

export interface LogExportOptions {
  /** `http://collector:4318/v1/logs` */
  readonly url: string;
  readonly program: OtlpProgram;
  /** Records that did not reach the collector. */
  readonly onLost: (records: number) => void;
  readonly waitingMax?: number;
}

export interface LogEntry {
  /** Name of the kind of event, `weft.connection` or `weft.request`. */
  readonly event: string;
  readonly level: 'info' | 'warn';
  readonly body: string;
  readonly attributes: Attributes;
  readonly timeMs: number;
  /** Absent: the request has no sampled trace. */
  readonly trace?: TraceIds | undefined;
}

/** Records that wait for the collector, those under way included. */
const waitingMaxDefault = 4_096;
const batchMax = 512;
const delayMs = 1_000;
const timeoutMs = 5_000;

export class LogExport {
  readonly #provider: LoggerProvider;
  readonly #logger: Logger;
  readonly #options: LogExportOptions;
  readonly #shares: FairLimit;
  /** Of the records that wait, in their order, which is that in which they are sent. */
  readonly #owners: string[] = [];

  constructor(options: LogExportOptions) {
    this.#options = options;
    const waitingMax = options.waitingMax ?? waitingMaxDefault;
    this.#shares = new FairLimit(waitingMax);
    const otlp = new OTLPLogExporter({ url: options.url, timeoutMillis: timeoutMs });
    const exporter: LogRecordExporter = {
      export: (records: ReadableLogRecord[], done: (result: ExportResult) => void) =>
        otlp.export(records, (result) => {
          for (const owner of this.#owners.splice(0, records.length)) this.#shares.release(owner);
          if (result.code !== ExportResultCode.SUCCESS) options.onLost(records.length);
          // The loss is counted. As an error it would reach the SDK's own log, which nobody reads.
          done({ code: ExportResultCode.SUCCESS });
        }),
      forceFlush: () => otlp.forceFlush(),
      shutdown: () => otlp.shutdown(),
    };
    this.#provider = new LoggerProvider({
      resource: resourceOf(options.program),
      processors: [
        new BatchLogRecordProcessor({
          exporter,
          maxQueueSize: waitingMax,
          maxExportBatchSize: batchMax,
          scheduledDelayMillis: delayMs,
          exportTimeoutMillis: 2 * timeoutMs,
        }),
      ],
    });
    this.#logger = this.#provider.getLogger('weft', version);
  }

  /**
   * `owner`: the pod or the client whose share of the queue the record uses, so that none of them displaces the records of others. `make` is
   * called only if there is room.
   */
  add(owner: string, make: () => LogEntry): void {
    if (this.#shares.take(owner) !== undefined) return this.#options.onLost(1);
    this.#owners.push(owner);
    const { event, level, body, attributes, timeMs, trace: ids } = make();
    this.#logger.emit({
      eventName: event,
      severityNumber: level === 'warn' ? SeverityNumber.WARN : SeverityNumber.INFO,
      severityText: level === 'warn' ? 'WARN' : 'INFO',
      body,
      attributes,
      timestamp: timeMs,
      context: ids
        ? trace.setSpanContext(ROOT_CONTEXT, { ...ids, traceFlags: TraceFlags.SAMPLED })
        : ROOT_CONTEXT,
    });
  }

  /** Sends the records that wait. */
  async close(): Promise<void> {
    await this.#provider.shutdown().catch(() => undefined);
  }
}
