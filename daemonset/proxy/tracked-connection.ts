/** A tracked connection and its record, from its first moment to its line in the connection log. */
import type net from 'node:net';
import type { Relay, RelayResult } from '../../src/hbone/relay.js';
import type { SpiffeId } from '../../src/model/identity.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { ConnectionAttributes } from '../../src/policy/authorize.js';
import { waypointsOf } from '../../src/state/resolve.js';
import { openRecord, type Opening } from '../../src/telemetry/connection-record.js';
import type { ProxyContext } from './context.js';
import { recheck } from '../../src/path/choose-path.js';

export class TrackedConnection {
  readonly #startedMs = Date.now();
  #opening: Opening | undefined;
  #relay: Relay | undefined;
  #check: { uid: WorkloadUid; attributes: ConnectionAttributes; peer: SpiffeId | undefined } | undefined;
  #cut: string | undefined;
  #id: number | undefined;
  #ended = false;

  private constructor(
    private readonly context: ProxyContext,
    private readonly socket: net.Socket,
  ) {}

  /** Starts to track a connection. If the worker's limit or the pod's share of it is reached, resets the socket and returns undefined. */
  static begin(context: ProxyContext, socket: net.Socket, pod: WorkloadUid): TrackedConnection | undefined {
    const track = new TrackedConnection(context, socket);
    const live = context.connections.track(pod, (id) => ({
      id,
      pod,
      startedMs: track.#startedMs,
      describe: () => ({
        id,
        pod,
        startedMs: track.#startedMs,
        ...track.#opening,
        ...track.#relay?.counts(),
      }),
      decidedBy: () => track.#check?.uid,
      recheck: () => track.#recheck(),
      cut: (why) => track.cut(why),
    }));
    if (typeof live === 'string') {
      context.limitReached(live);
      socket.resetAndDestroy();
      return undefined;
    }
    track.#id = live.id;
    socket.on('error', () => undefined);
    return track;
  }

  /** Authorizes the connection again at every later policy change. Call before it is first authorized. */
  watch(uid: WorkloadUid, attributes: ConnectionAttributes, peer = attributes.identity): void {
    this.#check = { uid, attributes, peer };
  }

  /** Stops that, because the destination's own node authorizes the connection. */
  unwatch(): void {
    this.#check = undefined;
  }

  #recheck(): string | undefined {
    const check = this.#check;
    if (!check) return undefined;
    const { view } = this.context;
    const workload = view.workload(check.uid);
    // The waypoint's statement about its client was trusted because the waypoint served this workload. Once it does not, the client is
    // unknown.
    if (
      workload &&
      check.attributes.http === 'authorized-by-waypoint' &&
      waypointsOf(view, workload, check.attributes.destinationPort).length === 0
    )
      return 'the waypoint that stated its client no longer serves this workload';
    return recheck(view, check.uid, check.attributes, check.peer);
  }

  /** Why it was cut; undefined: it was not. */
  get cutReason(): string | undefined {
    return this.#cut;
  }

  /** Both ends are connected: counts and the log follow the relay to its end. */
  follow(opening: Opening, relay: Relay): void {
    this.#opening = opening;
    this.#relay = relay;
    this.context.opened(openRecord(opening));
    if (this.#cut !== undefined) relay.cut(this.#cut);
    void relay.done.then((result) => {
      if (result.lingered === true) this.context.limitReached('linger');
      this.#end(opening, result);
    });
  }

  #end(
    opening: Opening,
    result: Pick<RelayResult, 'bytesSent' | 'bytesReceived' | 'reason'> & { ended: string },
  ): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#id !== undefined) this.context.connections.end(this.#id);
    this.context.closed({
      ...opening,
      bytesSent: result.bytesSent,
      bytesReceived: result.bytesReceived,
      durationMs: Date.now() - this.#startedMs,
      ended: result.reason === undefined ? result.ended : `${result.ended}: ${result.reason}`,
    });
  }

  /** Ends a connection that relayed nothing: the client sees a reset. */
  refuse(opening: Opening): void {
    this.#opening = opening;
    this.socket.resetAndDestroy();
    this.#end({ ...opening, path: 'refused' }, { bytesSent: 0, bytesReceived: 0, ended: 'refused' });
  }

  cut(why: string): void {
    this.#cut ??= why;
    if (this.#relay) this.#relay.cut(why);
    else this.socket.resetAndDestroy();
  }
}
