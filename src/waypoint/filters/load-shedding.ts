/**
 * Load shedding: refuses requests while the endpoints or the waypoint's worker have too much to do (Envoy: adaptive concurrency filter, and
 * actions of the overload manager). Requests of priority pass, and are not counted.
 */
import { performance } from 'node:perf_hooks';
import type { AdaptiveConcurrency, LoadSheddingFilter } from '../../discovery/gen/weft.js';
import { isFrom } from '../listener/client.js';
import type { LocalReply } from '../http/local-reply.js';
import type { GradientController } from '../shedding/gradient-controller.js';
import type { SheddingReason } from '../shedding/shedding.js';
import { Slot, type Filter, type FilteredRequest, type FilterKind, type FilterResult } from './filter.js';
import { requestMatch } from './request-match.js';

/** A request that a controller counts as under way. */
interface Counted {
  readonly controller: GradientController;
  readonly beganMs: number;
}

const replies: Readonly<Record<SheddingReason, LocalReply>> = {
  concurrency: replyFor('limit of adaptive concurrency reached'),
  'event-loop-delay': replyFor("the worker's event loop is delayed"),
  memory: replyFor("the worker's memory is above its limit"),
};

function replyFor(why: string): LocalReply {
  return { status: 503, flag: 'OM', code: 'WEFT_LOAD_SHED', why };
}

/** The numbers that a controller works with, whatever was sent. */
function saneOf(config: AdaptiveConcurrency): AdaptiveConcurrency {
  const minConcurrency = Math.max(1, config.minConcurrency);
  return {
    samplePercentile: Math.min(100, Math.max(1, config.samplePercentile)),
    updateIntervalMs: Math.max(10, config.updateIntervalMs),
    minRttIntervalMs: Math.max(1_000, config.minRttIntervalMs),
    minRttRequests: Math.min(1_000, Math.max(1, config.minRttRequests)),
    minConcurrency,
    concurrencyMax: Math.max(minConcurrency, config.concurrencyMax),
    bufferPercent: config.bufferPercent,
    jitterPercent: config.jitterPercent,
  };
}

class LoadShedding implements Filter {
  readonly #counted = new Slot<Counted>();
  readonly #adaptive: AdaptiveConcurrency | undefined;
  readonly #hasPriority: (request: FilteredRequest) => boolean;

  constructor(private readonly config: LoadSheddingFilter) {
    const { adaptiveConcurrency, priorityMatches, priorityClients } = config;
    this.#adaptive = adaptiveConcurrency && saneOf(adaptiveConcurrency);
    const matches = priorityMatches.length > 0 ? requestMatch(priorityMatches) : () => false;
    this.#hasPriority = (request) => isFrom(request.client, priorityClients) || matches(request);
  }

  onRequest(request: FilteredRequest): FilterResult {
    if (this.#hasPriority(request)) return undefined;
    const { context, servicePort } = request;
    const { name, dryRun } = this.config;
    const nowMs = performance.now();
    const controller =
      this.#adaptive && servicePort
        ? context.shedding.controller(servicePort, name, this.#adaptive, nowMs)
        : undefined;
    const reason = this.#reason(request, controller, nowMs);
    if (reason) {
      context.shedding.count(reason);
      request.act({ feature: 'load-shedding', mode: dryRun ? 'would' : 'did', policy: name });
      if (!dryRun) return { kind: 'reply', reply: replies[reason] };
    }
    if (controller) {
      controller.begin();
      this.#counted.set(request, { controller, beganMs: nowMs });
    }
    return undefined;
  }

  onResponse(request: FilteredRequest, { status }: { readonly status: number }): void {
    // An upgraded connection may stay open for hours: it is no request under way any more.
    if (status !== 101) return;
    this.#counted.get(request)?.controller.cancel();
    this.#counted.set(request, undefined);
  }

  onEnd(request: FilteredRequest): void {
    const counted = this.#counted.get(request);
    if (!counted) return;
    this.#counted.set(request, undefined);
    const { controller, beganMs } = counted;
    // The waypoint's own responses, and requests that their clients gave up, say nothing about the endpoints. Timeouts do.
    const { flag, upstreamVersion } = request;
    if (flag === 'UT' || (flag === undefined && upstreamVersion !== undefined))
      controller.record(beganMs, performance.now());
    else controller.cancel();
  }

  #reason(
    { context: { shedding } }: FilteredRequest,
    controller: GradientController | undefined,
    nowMs: number,
  ): SheddingReason | undefined {
    const { eventLoopDelayMsMax, memoryBytesMax } = this.config;
    if (memoryBytesMax > 0 && shedding.process.rssBytes > memoryBytesMax) return 'memory';
    if (eventLoopDelayMsMax > 0 && shedding.process.delayMs > eventLoopDelayMsMax) return 'event-loop-delay';
    return controller?.admits(nowMs) === false ? 'concurrency' : undefined;
  }
}

export const loadShedding: FilterKind<LoadSheddingFilter> = {
  stage: 'load-shedding',
  compile: (config) => new LoadShedding(config),
};
