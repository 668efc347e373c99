/**
 * A span per request, by OpenTelemetry's SDK. The trace context is read and written as W3C `traceparent`, and as B3 if the client uses B3.
 * Without tracing these headers are not changed.
 */
import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Span,
  type TextMapGetter,
  type TextMapSetter,
  type Tracer,
} from '@opentelemetry/api';
import { CompositePropagator, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { B3InjectEncoding, B3Propagator } from '@opentelemetry/propagator-b3';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-base';
import { formatSocketAddress } from '../../model/address.js';
import type { RequestHead } from '../http/http-stream.js';
import { headerOf, setHeader, type Headers } from '../http/headers.js';
import type { TraceIds } from '../../telemetry/otlp/trace-ids.js';
import type { RequestRecord } from './request-record.js';

export interface TracingOptions {
  /** URL of an OTLP/HTTP collector: `http://collector:4318/v1/traces`. */
  readonly endpoint: string;
  /** Share of traced requests, 0 to 1, where no sampling decision came with the request. */
  readonly sampling: number;
  readonly serviceName: string;
  readonly namespace: string;
}

const spansWaitingMax = 2048;

const getter: TextMapGetter<Headers> = {
  get: (headers, name) => headerOf(headers, name),
  keys: (headers) => headers.filter((_, i) => i % 2 === 0),
};
const setter: TextMapSetter<Headers> = {
  set: (headers, name, value) => setHeader(headers, name.toLowerCase(), value),
};

export class Tracing {
  readonly #provider: BasicTracerProvider;
  readonly #tracer: Tracer;
  readonly #w3c = new W3CTraceContextPropagator();
  readonly #b3 = new B3Propagator({ injectEncoding: B3InjectEncoding.MULTI_HEADER });
  readonly #b3Single = new B3Propagator({ injectEncoding: B3InjectEncoding.SINGLE_HEADER });
  // W3C is extracted last, so it takes precedence over B3.
  readonly #extract = new CompositePropagator({ propagators: [this.#b3, this.#w3c] });

  /** `exporter`: default is OTLP to the endpoint. */
  constructor(options: TracingOptions, exporter?: SpanExporter) {
    this.#provider = new BasicTracerProvider({
      resource: resourceFromAttributes({
        'service.name': options.serviceName,
        'service.namespace': options.namespace,
      }),
      sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(options.sampling) }),
      spanProcessors: [
        new BatchSpanProcessor(exporter ?? new OTLPTraceExporter({ url: options.endpoint }), {
          maxQueueSize: spansWaitingMax,
        }),
      ],
    });
    this.#tracer = this.#provider.getTracer('weft-waypoint');
  }

  /** Begins the request's span and makes it the parent of the endpoint's spans. Changes the head's headers. */
  begin(head: RequestHead): Span {
    const { headers } = head;
    const parent = this.#extract.extract(ROOT_CONTEXT, headers, getter);
    const span = this.#tracer.startSpan(
      head.method,
      {
        kind: SpanKind.SERVER,
        attributes: {
          'http.request.method': head.method,
          'url.path': head.path,
          'server.address': head.authority,
        },
      },
      parent,
    );
    const context = trace.setSpan(parent, span);
    // B3 is continued if the client sent it; W3C is always sent.
    if (headerOf(headers, 'b3') !== undefined) this.#b3Single.inject(context, headers, setter);
    if (headerOf(headers, 'x-b3-traceid') !== undefined) this.#b3.inject(context, headers, setter);
    this.#w3c.inject(context, headers, setter);
    return span;
  }

  /** Returns the ids of a trace that is exported. */
  end(span: Span, record: RequestRecord): TraceIds | undefined {
    const isSampled = span.isRecording();
    if (isSampled) {
      span.setAttributes({
        // Without the client's token, which was not known when the span began.
        'url.path': record.path,
        'http.response.status_code': record.status,
        'client.address': record.client.address.ip,
        'weft.source.identity': record.client.identity ?? 'unknown',
        'weft.service': record.service,
        'weft.attempts': record.attempts,
        ...(record.route === undefined ? {} : { 'http.route': record.route }),
        ...(record.flag === undefined ? {} : { response_flags: record.flag }),
        ...(record.code === undefined ? {} : { 'error.type': record.code }),
        ...(record.grpcStatus === undefined ? {} : { 'rpc.grpc.status_code': Number(record.grpcStatus) }),
        ...(record.endpoint === undefined
          ? {}
          : {
              'network.peer.address': formatSocketAddress(record.endpoint.target),
              'weft.destination.identity': record.endpoint.workload.identity,
            }),
      });
      if (record.status >= 500 || record.status === 0)
        span.setStatus({
          code: SpanStatusCode.ERROR,
          ...(record.why === undefined ? {} : { message: record.why }),
        });
    }
    span.end();
    const { traceId, spanId } = span.spanContext();
    return isSampled ? { traceId, spanId } : undefined;
  }

  /** Exports the spans that are queued. */
  async close(): Promise<void> {
    await this.#provider.shutdown();
  }
}
