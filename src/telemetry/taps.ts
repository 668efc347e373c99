/**
 * The taps of one program: which are on, and the events that wait to be sent. Without a tap an observation costs one check. Filters are
 * evaluated on the program's own records; only what a tap wants is made an event. The number of waiting events is bounded: what exceeds it
 * is counted as lost, by tap.
 */
import type { TapEvent } from '../model/mesh-snapshot.js';
import { compileTapFilter, type TappedEvent, type TapQuery, type TapSubject } from '../model/tap.js';

/** Events that wait; they are sent every `tapSendMs`. */
const tapEventsMax = 256;
export const tapSendMs = 100;

/** A tap that is on. */
export interface Tap {
  readonly number: number;
  readonly query: TapQuery;
}

/** All taps that are on, until the lease ends. */
export interface TapSetting {
  readonly taps: readonly Tap[];
  readonly leaseMs: number;
}

export interface TapLosses {
  readonly tap: number;
  readonly events: number;
}

export interface TakenTaps {
  readonly events: readonly TappedEvent[];
  readonly lost: readonly TapLosses[];
}

/** An observation that can be made an event. */
export interface TapSource extends TapSubject {
  event(): TapEvent;
}

/** Events that wait to be sent, at most so many, and counts of others. */
export class TapBuffer {
  #events: TappedEvent[] = [];
  #lost = new Map<number, number>();

  constructor(private readonly max = tapEventsMax) {}

  get isFull(): boolean {
    return this.#events.length >= this.max;
  }

  add(event: TappedEvent): void {
    if (this.isFull) for (const tap of event.taps) this.lose(tap, 1);
    else this.#events.push(event);
  }

  lose(tap: number, events: number): void {
    this.#lost.set(tap, (this.#lost.get(tap) ?? 0) + events);
  }

  /** What was added since the last call; undefined: nothing. */
  take(): TakenTaps | undefined {
    if (this.#events.length === 0 && this.#lost.size === 0) return undefined;
    const taken = {
      events: this.#events,
      lost: [...this.#lost].map(([tap, events]) => ({ tap, events })),
    };
    this.#events = [];
    this.#lost = new Map();
    return taken;
  }

  clear(): void {
    this.#events = [];
    this.#lost = new Map();
  }
}

interface Compiled {
  readonly number: number;
  readonly matches: (subject: TapSubject) => boolean;
  readonly sampleOf: number;
}

export class Taps {
  /** Whether to call `offer`. */
  isOn = false;
  readonly #buffer: TapBuffer;
  #compiled: readonly Compiled[] = [];
  #untilMs = 0;

  constructor(
    max = tapEventsMax,
    private readonly now: () => number = () => performance.now(),
    private readonly random: () => number = Math.random,
  ) {
    this.#buffer = new TapBuffer(max);
  }

  /** Replaces all taps. */
  set({ taps, leaseMs }: TapSetting): void {
    this.#compiled = taps.map(({ number, query: { filter, sampleOf } }) => ({
      number,
      matches: compileTapFilter(filter),
      sampleOf,
    }));
    this.#untilMs = this.now() + leaseMs;
    this.isOn = taps.length > 0;
    if (!this.isOn) this.#buffer.clear();
  }

  offer(source: TapSource): void {
    let wanted: number[] | undefined;
    for (const { number, matches, sampleOf } of this.#compiled) {
      if (!matches(source) || (sampleOf > 1 && this.random() * sampleOf >= 1)) continue;
      // Not made: it would be lost.
      if (this.#buffer.isFull) this.#buffer.lose(number, 1);
      else if (wanted) wanted.push(number);
      else wanted = [number];
    }
    if (!wanted) return;
    this.#buffer.add({ taps: wanted, event: source.event() });
  }

  /** What was observed since the last call; undefined: nothing. Ends taps whose lease is over. */
  take(): TakenTaps | undefined {
    if (this.isOn && this.now() > this.#untilMs) this.set({ taps: [], leaseMs: 0 });
    return this.#buffer.take();
  }
}
