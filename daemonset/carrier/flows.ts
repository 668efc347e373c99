/** The flows of one carrier: their records and metrics, as the TypeScript relay makes them. */
import type { LineValues } from '../../src/telemetry/connection-log.js';
import {
  forbiddenMeanwhile,
  openRecord,
  refusedRecord,
  type Opening,
} from '../../src/telemetry/connection-record.js';
import type { ConnectionTemplate } from '../../src/telemetry/connection-template.js';
import type { MetricEvent } from '../../src/telemetry/metrics.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { FlowRecords } from './flow-records.js';
import { Ended, type Address, type Closed, type Flow } from './gen/carrier.js';
import { openingOfFlow, type HeldRule } from './held-rules.js';
import { decodeAddress, malformed } from './protocol.js';
import { RecentFlows } from './recent-flows.js';

/** More than any carrier has descriptors for: one that reports more holds this agent's memory for flows that it does not have. */
const openFlowsMax = 1 << 20;

export interface FlowsParts {
  readonly ruleOf: (id: number) => HeldRule | undefined;
  readonly record: (event: MetricEvent) => void;
  readonly template: (opening: Opening) => ConnectionTemplate;
  /** A pod of this node was reached directly: later connections can be kernel flows. */
  readonly requestVerdict: (source: WorkloadUid, destination: WorkloadUid, port: number) => void;
  /** Default `openFlowsMax`. */
  readonly openMax?: number;
}

const endedTexts: Readonly<Partial<Record<Ended, string>>> = {
  [Ended.ENDED_FINISHED]: 'finished',
  [Ended.ENDED_POD_RESET]: 'pod-reset',
  [Ended.ENDED_PEER_RESET]: 'peer-reset',
  [Ended.ENDED_CUT]: 'cut',
};

/** Flows of one target of one rule that have one client's IP: their records differ in port, counts and end. */
interface FlowKind {
  readonly rule: number;
  readonly target: number;
  readonly ip: Buffer;
  readonly records: ConnectionTemplate;
  /** Batch of records that has asked for the verdict of its flows. */
  verdictBatch: number;
}

interface OpenFlow {
  readonly records: ConnectionTemplate;
  readonly clientPort: number;
  /** By the monotonic clock. */
  readonly startedMs: number;
}

export class Flows {
  readonly #parts: FlowsParts;
  readonly #idOf: (flow: number) => string;
  /** Flows that were counted as opened. */
  readonly #open = new Map<number, OpenFlow>();
  /** By rule, then by target. */
  readonly #kinds = new Map<number, (FlowKind | undefined)[]>();
  #last: FlowKind | undefined;
  #batch = 0;
  readonly #ended = new RecentFlows();
  /** Flows whose ends this process has recorded, and that the carrier reports again. */
  readonly #repeated = new Set<number>();
  /** What the former connection had counted as opened, and as ended. */
  #openBefore: ReadonlySet<number> = new Set();
  #endedBefore: ReadonlySet<number> = new Set();

  /** `idOf`: the id of a flow's record. `former`: of this process's former connection to the same carrier. */
  constructor(parts: FlowsParts, idOf: (flow: number) => string, former?: Flows) {
    this.#parts = parts;
    this.#idOf = idOf;
    if (!former) return;
    this.#openBefore = new Set(former.#open.keys());
    this.#endedBefore = new Set([...former.#ended.all(), ...former.#repeated]);
  }

  get size(): number {
    return this.#open.size;
  }

  #setOpen(flow: number, open: OpenFlow): void {
    if (this.#open.size >= (this.#parts.openMax ?? openFlowsMax))
      throw malformed('more open flows than a carrier can have');
    this.#open.set(flow, open);
  }

  /** A flow of a former agent's time. Throws WEFT_CARRIER_MESSAGE. */
  adopt({ id, rule, target, client, ageMs, isOpening }: Flow): void {
    if (this.#endedBefore.has(id)) return void this.#repeated.add(id);
    if (isOpening || this.#open.has(id)) return;
    const kind = this.#kinds.get(rule)?.[target];
    const isKind = client && kind?.ip.equals(client.ip) === true;
    const records = isKind ? kind.records : this.#newRecords(rule, target, client);
    if (!records) return;
    this.#setOpen(id, { records, clientPort: client?.port ?? 0, startedMs: performance.now() - ageMs });
    if (!this.#openBefore.has(id)) records.opened();
  }

  /** Every flow that the carrier had was adopted. */
  onAdopted(): void {
    this.#openBefore = this.#endedBefore = new Set();
  }

  /** Call it regularly. */
  tick(): void {
    this.#ended.forget();
  }

  /** True: this process has recorded that end already. */
  #ends(flow: number): boolean {
    this.#ended.add(flow);
    return this.#repeated.size > 0 && this.#repeated.delete(flow);
  }

  /** Throws WEFT_CARRIER_MESSAGE. */
  onRecords(bytes: Buffer): void {
    this.#batch++;
    const nowMs = performance.now();
    const records = new FlowRecords(bytes);
    while (records.next()) {
      const flow = records.flow;
      const open = this.#open.get(flow);
      if (records.isOpening) {
        const { clientPort, ageMs } = records;
        const of = open ? undefined : this.#recordsOf(records);
        if (!of) continue;
        this.#setOpen(flow, { records: of, clientPort, startedMs: nowMs - ageMs });
        of.opened();
        continue;
      }
      if (this.#ends(flow)) continue;
      if (open) this.#open.delete(flow);
      const of = open?.records ?? this.#recordsOf(records);
      const { clientPort, bytesSent, bytesReceived, durationMs } = records;
      const ended = endedTexts[records.ended] ?? 'finished';
      const id = this.#idOf(flow);
      of?.closed({ id, clientPort, bytesSent, bytesReceived, durationMs, ended }, open !== undefined);
    }
  }

  /** Of a flow that this agent sees for the first time. */
  #recordsOf(records: FlowRecords): ConnectionTemplate | undefined {
    const { rule, target } = records;
    const last = this.#last;
    const kind = last?.rule === rule && last.target === target ? last : this.#kinds.get(rule)?.[target];
    if (!kind || !records.isClientIp(kind.ip)) {
      this.#requestVerdict(rule, target);
      return this.#newRecords(rule, target, { ip: records.clientIp(), port: records.clientPort });
    }
    this.#last = kind;
    if (kind.verdictBatch !== this.#batch) {
      kind.verdictBatch = this.#batch;
      this.#requestVerdict(rule, target);
    }
    return kind.records;
  }

  #newRecords(rule: number, target: number, client: Address | undefined): ConnectionTemplate | undefined {
    const held = this.#parts.ruleOf(rule);
    const opening = held && openingOfFlow(held, target, decodeAddress(client));
    if (!opening) return undefined;
    const kinds = this.#kinds.get(rule) ?? [];
    // A rule that matches no later connection has one flow. A client that a waypoint states has its own port.
    const isRepeated = held.matching && held.context.source.address === '' && !opening.audited;
    if (!client || !isRepeated || kinds[target]) return this.#single(opening);
    const records = this.#parts.template(opening);
    kinds[target] = { rule, target, ip: Buffer.from(client.ip), records, verdictBatch: this.#batch };
    this.#kinds.set(rule, kinds);
    return records;
  }

  /** The target of a permitted flow did not accept it. Later connections can be kernel flows all the same. */
  onFailure(rule: number, target: number): void {
    this.#requestVerdict(rule, target);
  }

  #requestVerdict(rule: number, target: number): void {
    const held = this.#parts.ruleOf(rule);
    if (held?.context.about.kind !== 'captured') return;
    const { pod, check, targets } = held.context;
    const workload = targets[target]?.workload;
    if (check && workload !== undefined)
      this.#parts.requestVerdict(pod, workload, check.attributes.destinationPort);
  }

  /** The records of one flow. */
  #single(opening: Opening): ConnectionTemplate {
    const { record } = this.#parts;
    const opened = (): void => record({ kind: 'opened', record: openRecord(opening) });
    return {
      opened,
      closed: ({ clientPort: _port, ...values }, wasCounted) => {
        if (!wasCounted) opened();
        record({ kind: 'closed', record: { ...opening, ...values } });
      },
      end: () => undefined,
    };
  }

  onClosed(closed: Closed): void {
    const { flow, rule, target, bytesSent, bytesReceived, durationMs, reason } = closed;
    if (this.#ends(flow)) return;
    const id = this.#idOf(flow);
    const open = this.#open.get(flow);
    if (!open) {
      const held = this.#parts.ruleOf(rule);
      const opening = held && openingOfFlow(held, target, decodeAddress(closed.client));
      if (opening) this.refused({ id, ...opening, ...reasonOf(closed) });
      return;
    }
    this.#open.delete(flow);
    const text = endedTexts[closed.ended] ?? 'finished';
    const ended = closed.ended === Ended.ENDED_CUT && reason !== '' ? `${text}: ${reason}` : text;
    const { clientPort, records } = open;
    records.closed({ id, clientPort, bytesSent, bytesReceived, durationMs, ended }, true);
  }

  /** The carrier has died, and its flows with it. Nobody knows their bytes. */
  lost(): void {
    for (const [flow, { records, clientPort, startedMs }] of this.#open) {
      const durationMs = Math.round(performance.now() - startedMs);
      const values: LineValues = {
        id: this.#idOf(flow),
        clientPort,
        bytesSent: 0,
        bytesReceived: 0,
        durationMs,
        ended: 'cut: the carrier died',
      };
      records.closed(values, true);
    }
    this.#open.clear();
    this.endRules();
  }

  /** The last flow of the rule has ended. */
  endRule(id: number): void {
    for (const kind of this.#kinds.get(id) ?? []) kind?.records.end();
    this.#kinds.delete(id);
    if (this.#last?.rule === id) this.#last = undefined;
  }

  endRules(): void {
    for (const id of [...this.#kinds.keys()]) this.endRule(id);
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
  if (ended === Ended.ENDED_CUT) return { code: 'WEFT_DENIED', why: forbiddenMeanwhile(reason) };
  if (ended === Ended.ENDED_REFUSED) return { why: reason === '' ? 'the carrier refused it' : reason };
  return { code: 'WEFT_CLIENT_GONE', why: 'the client left before its connection was handled' };
}
