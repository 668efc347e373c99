/** What waits for one reader: at most so many events. A reader that is too slow loses events, and is told how many. */
import type { TapEvent, TapParty } from '../../src/model/mesh-snapshot.js';

/** Events that wait for one reader. */
export const readerEventsMax = 1_000;
/** Characters of these events: a program chooses how long its texts are. */
export const readerCharsMax = 1 << 20;

const partyChars = ({ namespace, workload, pod, identity = '' }: TapParty): number =>
  namespace.length + workload.length + pod.length + identity.length;
const charsOf = (event: TapEvent): number =>
  partyChars(event.source) +
  partyChars(event.destination) +
  (event.destination.service?.length ?? 0) +
  event.id.length +
  event.reporter.length +
  (event.request ? event.request.method.length + event.request.path.length : 0) +
  (event.policy?.length ?? 0) +
  (event.code?.length ?? 0) +
  (event.why?.length ?? 0) +
  (event.audited?.reduce((sum, one) => sum + one.length, 0) ?? 0);

export interface TapDelivery {
  readonly events: readonly TapEvent[];
  /** Events before these that were lost. */
  readonly lost: number;
  /** Replicas that do not answer. Absent: as before. */
  readonly missing?: readonly string[] | undefined;
}

export class TapQueue {
  #events: TapEvent[] = [];
  #chars = 0;
  #lost = 0;
  #missing: readonly string[] | undefined;
  #wake: (() => void) | undefined;
  #ended: string | undefined;

  constructor(private readonly max = readerEventsMax) {}

  push(event: TapEvent): void {
    if (this.#ended !== undefined) return;
    const chars = charsOf(event);
    if (this.#events.length >= this.max || this.#chars + chars > readerCharsMax) this.#lost++;
    else {
      this.#events.push(event);
      this.#chars += chars;
    }
    this.#wake?.();
  }

  lose(events: number): void {
    if (events <= 0) return;
    this.#lost = Math.min(Number.MAX_SAFE_INTEGER, this.#lost + events);
    this.#wake?.();
  }

  missing(replicas: readonly string[]): void {
    this.#missing = replicas;
    this.#wake?.();
  }

  /** No delivery follows. @param why for the reader */
  end(why: string): void {
    this.#ended ??= why;
    this.#wake?.();
  }

  /** Events that wait. */
  get size(): number {
    return this.#events.length;
  }

  get ended(): string | undefined {
    return this.#ended;
  }

  /** What waits; after `waitMs` also nothing. Undefined: the tap has ended. */
  async next(waitMs: number): Promise<TapDelivery | undefined> {
    if (this.#isEmpty && this.#ended === undefined)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    this.#wake = undefined;
    if (this.#ended !== undefined) return undefined;
    const delivery = { events: this.#events, lost: this.#lost, missing: this.#missing };
    this.#events = [];
    this.#chars = 0;
    this.#lost = 0;
    this.#missing = undefined;
    return delivery;
  }

  get #isEmpty(): boolean {
    return this.#events.length === 0 && this.#lost === 0 && this.#missing === undefined;
  }
}
