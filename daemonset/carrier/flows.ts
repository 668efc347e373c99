/** The flows of one carrier: their records and metrics, as the TypeScript relay makes them. */
import type { SocketAddress } from '../../src/model/address.js';
import { openRecord, refusedRecord, type Opening } from '../../src/telemetry/connection-record.js';
import type { MetricEvent } from '../../src/telemetry/metrics.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { Ended, type Closed, type Flow, type Opened } from './gen/carrier.js';
import { openingOfFlow, type HeldRule } from './held-rules.js';
import { decodeAddress } from './protocol.js';

export interface FlowsParts {
  readonly ruleOf: (id: number) => HeldRule | undefined;
  readonly record: (event: MetricEvent) => void;
  /** A pod of this node was reached directly: later connections can be kernel flows. */
  readonly requestVerdict: (source: WorkloadUid, destination: WorkloadUid, port: number) => void;
}

const endedTexts: Readonly<Partial<Record<Ended, string>>> = {
  [Ended.ENDED_FINISHED]: 'finished',
  [Ended.ENDED_POD_RESET]: 'pod-reset',
  [Ended.ENDED_PEER_RESET]: 'peer-reset',
  [Ended.ENDED_CUT]: 'cut',
};

interface OpenFlow {
  readonly opening: Opening;
  /** By the monotonic clock. */
  readonly startedMs: number;
}

export class Flows {
  readonly #parts: FlowsParts;
  readonly #idOf: (flow: number) => string;
  /** Flows that were counted as opened. */
  readonly #open = new Map<number, OpenFlow>();

  /** `idOf`: the id of a flow's record. */
  constructor(parts: FlowsParts, idOf: (flow: number) => string) {
    this.#parts = parts;
    this.#idOf = idOf;
  }

  get size(): number {
    return this.#open.size;
  }

  /** A flow of a former agent's time. */
  adopt(flow: Flow): void {
    if (flow.isOpening) return;
    this.#opened(flow.id, flow.rule, flow.target, decodeAddress(flow.client), flow.ageMs);
  }

  onOpened({ flow, rule, target, client, ageMs }: Opened): void {
    const held = this.#opened(flow, rule, target, decodeAddress(client), ageMs);
    const workload = held?.context.targets[target]?.workload;
    const check = held?.context.check;
    if (held?.context.about.kind === 'captured' && check && workload !== undefined)
      this.#parts.requestVerdict(held.context.pod, workload, check.attributes.destinationPort);
  }

  #opened(
    flow: number,
    rule: number,
    target: number,
    client: SocketAddress | undefined,
    ageMs: number,
  ): HeldRule | undefined {
    const held = this.#parts.ruleOf(rule);
    const opening = held && openingOfFlow(held, target, client);
    if (!opening || this.#open.has(flow)) return undefined;
    this.#open.set(flow, { opening, startedMs: performance.now() - ageMs });
    this.#parts.record({ kind: 'opened', record: openRecord(opening) });
    return held;
  }

  onClosed(closed: Closed): void {
    const held = this.#parts.ruleOf(closed.rule);
    const opening = held && openingOfFlow(held, closed.target, decodeAddress(closed.client));
    const wasOpen = this.#open.delete(closed.flow);
    if (!opening) return;
    const id = this.#idOf(closed.flow);
    if (!wasOpen) return this.refused({ id, ...opening, ...reasonOf(closed) });
    const { bytesSent, bytesReceived, durationMs, reason } = closed;
    const ended = endedTexts[closed.ended] ?? 'finished';
    this.#parts.record({
      kind: 'closed',
      record: {
        id,
        ...opening,
        bytesSent,
        bytesReceived,
        durationMs,
        ended: closed.ended === Ended.ENDED_CUT && reason !== '' ? `${ended}: ${reason}` : ended,
      },
    });
  }

  /** The carrier has died, and its flows with it. Nobody knows their bytes. */
  lost(): void {
    for (const [flow, { opening, startedMs }] of this.#open) {
      const durationMs = Math.round(performance.now() - startedMs);
      const record = {
        id: this.#idOf(flow),
        ...opening,
        bytesSent: 0,
        bytesReceived: 0,
        durationMs,
        ended: 'cut: the carrier died',
      };
      this.#parts.record({ kind: 'closed', record });
    }
    this.#open.clear();
  }

  refused(opening: Opening): void {
    this.#parts.record({ kind: 'closed', record: refusedRecord(opening) });
  }
}

/** The reason of a cut when the carrier itself ends (kCarrierEnds of native/carrier/src/rules/decider.h). */
const carrierEnds = 'the carrier ends';

/** Why a flow ended before both ends were connected. */
function reasonOf({ ended, reason }: Closed): { readonly code?: string; readonly why: string } {
  if (ended === Ended.ENDED_CUT && reason === carrierEnds)
    return { why: 'the carrier ended while the connection was being opened' };
  if (ended === Ended.ENDED_CUT)
    return { code: 'WEFT_DENIED', why: 'the connection was forbidden while it was being opened' };
  if (ended === Ended.ENDED_REFUSED) return { why: reason === '' ? 'the carrier refused it' : reason };
  return { code: 'WEFT_CLIENT_GONE', why: 'the client left before its connection was handled' };
}
