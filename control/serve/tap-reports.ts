/** The service weft.v1.Taps: programs report what taps want, other replicas of the control plane read taps. */
import { Metadata, status, type ServerDuplexStream } from '@grpc/grpc-js';
import { errorText } from '../../src/base/errors.js';
import { decodeTapQuery, encodeTapEvent, tapEventLimits } from '../../src/discovery/codec/tap.js';
import type { TapBatch, TapReport, TapsServer, TapSet, TapWatch } from '../../src/discovery/gen/weft.js';
import type { Caller } from '../authentication/authenticator.js';
import { controlCaller, isService } from '../authentication/service-callers.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import type { ControlLog } from '../log.js';
import type { TapHub, TapReading } from '../taps/tap-hub.js';

/** As of discovery: a node has an agent and its successor, a waypoint its replicas. */
const streamsPerCallerMax = { node: 4, waypoint: 256, control: 128 } as const;
const watchMs = 5_000;

type ReportCall = ServerDuplexStream<TapReport, TapSet>;
type WatchCall = ServerDuplexStream<TapWatch, TapBatch>;

export interface TapReportsOptions {
  /** Absent: as of a version without taps. */
  readonly taps?: TapHub;
  readonly onLimit?: ((limit: string) => void) | undefined;
  readonly log: ControlLog;
}

interface Open {
  readonly caller: Caller;
  end(code: status, details: string): void;
}

export class TapReports {
  readonly #open = new Set<Open>();

  constructor(
    private readonly options: TapReportsOptions,
    /** The authenticated caller. Error: WEFT_INTERNAL, if the call was not authenticated. */
    private readonly callerOf: (call: { readonly metadata: Metadata }) => Caller,
  ) {}

  readonly methods: TapsServer = {
    report: (call: ReportCall) => this.#guarded(call, (hub, caller) => this.#report(call, hub, caller)),
    watch: (call: WatchCall) => this.#guarded(call, (hub, caller) => this.#watch(call, hub, caller)),
  };

  #guarded(call: ReportCall | WatchCall, serve: (hub: TapHub, caller: Caller) => void): void {
    call.on('error', () => undefined);
    const { taps, log } = this.options;
    try {
      if (taps) return serve(taps, this.callerOf(call));
      call.emit('error', { code: status.UNIMPLEMENTED, details: 'this control plane has no taps' });
    } catch (error) {
      log.warn({ peer: call.getPeer(), error: errorText(error) }, 'processing a call about taps failed');
      call.emit('error', { code: status.UNAVAILABLE, details: 'the call could not be processed: try again' });
    }
  }

  /** At the limit of the caller's streams the oldest ends. */
  #enter(call: ReportCall | WatchCall, caller: Caller): Open {
    const { name } = caller;
    const { node, waypoint, control } = streamsPerCallerMax;
    const max = name === controlCaller ? control : waypointOfCaller(name) ? waypoint : node;
    const own = [...this.#open].filter((one) => one.caller.name === name);
    const tooMany = 'too many tap streams of this caller';
    // After a lost connection, the newest stream of a program is the live one.
    for (const one of own.slice(0, Math.max(0, own.length - max + 1))) {
      this.options.onLimit?.('control-tap-streams');
      one.end(status.RESOURCE_EXHAUSTED, tooMany);
    }
    const open: Open = {
      caller,
      end: (code, details) => {
        this.#open.delete(open);
        call.emit('error', { code, details });
      },
    };
    this.#open.add(open);
    return open;
  }

  #report(call: ReportCall, hub: TapHub, caller: Caller): void {
    if (isService(caller.name))
      return void call.emit('error', {
        code: status.PERMISSION_DENIED,
        details: 'only node agents and waypoints may report to taps',
      });
    const open = this.#enter(call, caller);
    let isWriting = false;
    let next: TapSet | undefined;
    const send = (): void => {
      if (isWriting || !next) return;
      isWriting = true;
      const set = next;
      next = undefined;
      call.write(set, () => {
        isWriting = false;
        send();
      });
    };
    const detach = hub.attach((set) => {
      next = set;
      send();
    });
    const close = (): void => {
      detach();
      this.#open.delete(open);
    };
    onEnd(call, close);
    call.on('data', (report: TapReport) => {
      if (!this.#open.has(open)) return;
      if (report.events.length <= tapEventLimits.eventsPerReport) return hub.report(caller, report);
      this.options.onLimit?.('control-tap-report');
      open.end(status.INVALID_ARGUMENT, `a report has more than ${tapEventLimits.eventsPerReport} events`);
    });
    // Sent at once, so that the program knows that it is connected.
    call.sendMetadata(new Metadata());
  }

  #watch(call: WatchCall, hub: TapHub, caller: Caller): void {
    // Events are of all namespaces: no node and no waypoint may read them.
    if (caller.name !== controlCaller)
      return void call.emit('error', {
        code: status.PERMISSION_DENIED,
        details: 'only the control plane may read taps here',
      });
    const open = this.#enter(call, caller);
    call.once('data', ({ filter, sampleOf, user, group }: TapWatch) => {
      const query = decodeTapQuery(filter, sampleOf);
      if (!query) return open.end(status.INVALID_ARGUMENT, 'the filter is not one of this version');
      const replica = { user: caller.name, group: caller.name };
      const reading = hub.open(query, user === '' ? replica : { user, group }, 'watcher');
      if (!reading) return open.end(status.RESOURCE_EXHAUSTED, 'too many taps');
      const close = (): void => {
        reading.close();
        this.#open.delete(open);
      };
      onEnd(call, close);
      void this.#send(call, hub, reading);
    });
    call.on('cancelled', () => this.#open.delete(open));
    call.on('close', () => this.#open.delete(open));
  }

  async #send(call: WatchCall, hub: TapHub, { queue }: TapReading): Promise<void> {
    for (let isFirst = true; ; isFirst = false) {
      const delivery = isFirst ? { events: [], lost: 0 } : await queue.next(watchMs);
      if (!delivery) return void call.end();
      const { events, lost } = delivery;
      await new Promise<void>((resolve) => {
        call.once('close', resolve);
        call.once('cancelled', resolve);
        call.write({ events: events.map(encodeTapEvent), lost, programs: hub.programs }, () => {
          call.off('close', resolve);
          call.off('cancelled', resolve);
          resolve();
        });
      });
    }
  }

  /** Ends the streams whose token is no longer valid. If a token cannot be checked, its stream stays open. */
  async recheck(): Promise<void> {
    await Promise.all(
      [...this.#open].map(async (open) => {
        const { recheck } = open.caller;
        const isValid = (await recheck?.().catch(() => true)) ?? true;
        if (!isValid && this.#open.has(open))
          open.end(status.UNAUTHENTICATED, 'the token has expired or was revoked');
      }),
    );
  }
}

/** However a call ends, `close` is called; the caller's half close ends it, too. */
function onEnd(call: ReportCall | WatchCall, close: () => void): void {
  for (const event of ['cancelled', 'close', 'error']) call.on(event, close);
  call.on('end', () => {
    close();
    call.end();
  });
}
