/**
 * Delta ADS streams, one per node agent and waypoint replica. A stream that subscribes to a type receives the difference to the versions that
 * it has, and afterwards the resources that change.
 */
import { status, Metadata, type ServerDuplexStream } from '@grpc/grpc-js';
import { errorText } from '../../src/base/errors.js';
import { readCapabilities, type Capabilities } from '../../src/discovery/capabilities.js';
import type { DeltaDiscoveryRequest } from '../../src/discovery/gen/discovery.js';
import { keySetType } from '../../src/discovery/types.js';
import type { Caller } from '../authentication/authenticator.js';
import type { ChangeLog } from '../changes/change-log.js';
import { Deliveries } from '../changes/deliveries.js';
import { isRateLimiter, mayReceive } from '../compile/rate-limiter.js';
import { waypointCaller, waypointOfCaller, type WaypointName } from '../compile/waypoints.js';
import type { ControlLog } from '../log.js';
import { FullResponseTurns } from './full-response-turns.js';
import { responseOf, type ChangedNames, type Resources } from './resources.js';

const typesMax = 64;
/** A node needs one stream, and a second one while its agent is replaced. A waypoint needs one per replica. */
const streamsPerCallerMax = { node: 4, waypoint: 256 } as const;
/** Limit of resource names in a caller's requests that wait for a response. It is larger than the number of resources of any mesh. */
const waitingNamesMaxDefault = 2_000_000;
/** A node that takes longer to read its full response loses its turn to others. */
const fullResponseMsMax = 5_000;

export type DeltaCall = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

export interface DeltaStreamsOptions {
  readonly resources: Resources;
  /** Two million if absent. */
  readonly waitingNamesMax?: number | undefined;
  /** Why the resources may be older than those that other replicas have sent; undefined: they are not. */
  readonly stale?: (() => string | undefined) | undefined;
  /** A caller asks for key sets to be fetched again. Not checked: any caller, any URIs. */
  readonly onKeysWanted?: ((caller: string, uris: readonly string[]) => void) | undefined;
  /** A waypoint's stream with a version that lacks features was opened or has ended. */
  readonly onVersions?: (() => void) | undefined;
  /** Gets what callers have acknowledged or refused; absent: nobody asks. */
  readonly changes?: ChangeLog | undefined;
  /** A limit of docs/limits.md was reached. */
  readonly onLimit?: ((limit: string) => void) | undefined;
  readonly log: ControlLog;
}

interface Subscription {
  /** Names that changed while the stream was still reading an earlier response. */
  changed: Set<string>;
  /** Nonce of the last response. */
  nonce: string;
  /** The last delivery that the stream has been sent of the type, or will be. */
  delivery: number;
  readonly deliveries: Deliveries;
}

interface DeltaStream {
  /** The caller's name: a node's or a waypoint's. */
  readonly node: string;
  readonly caller: Caller;
  readonly call: DeltaCall;
  /** Subscriptions by type URL. */
  readonly subscriptions: Map<string, Subscription>;
  /** Types that the stream has requested and not received yet, with the versions that it has. */
  readonly pending: Map<string, Readonly<Record<string, string>>>;
  /** Whether a message is in flight. Only one is at a time: a slow node delays no other node and receives only the latest state. */
  sending: boolean;
  nonces: number;
  /** What the waypoint's version can do, from its first request; undefined for nodes. */
  capabilities: Capabilities | undefined;
  /** Its name among those that acknowledge changes. Replicas of a waypoint have one each. */
  receiver: string;
}

const lacksOf = ({ capabilities }: DeltaStream): readonly string[] => capabilities?.lacks ?? [];

/** Sole owner of the streams and their subscriptions. */
export class DeltaStreams {
  readonly #options: DeltaStreamsOptions;
  readonly #resources: Resources;
  readonly #streams = new Set<DeltaStream>();
  readonly #turns = new FullResponseTurns();
  readonly #rechecking = new Set<DeltaStream>();

  constructor(options: DeltaStreamsOptions) {
    this.#options = options;
    this.#resources = options.resources;
  }

  get size(): number {
    return this.#streams.size;
  }

  /** Names of the nodes that have a stream. Waypoints and the rate limit service are not among them. */
  get nodes(): ReadonlySet<string> {
    return new Set(
      [...this.#streams]
        .map(({ node }) => node)
        .filter((name) => !waypointOfCaller(name) && !isRateLimiter(name)),
    );
  }

  clear(): void {
    this.#streams.clear();
  }

  /** Adds the stream of an authenticated caller. */
  open(call: DeltaCall, caller: Caller): void {
    const node = caller.name;
    const stream: DeltaStream = {
      node,
      caller,
      call,
      subscriptions: new Map(),
      pending: new Map(),
      sending: false,
      nonces: 0,
      capabilities: undefined,
      receiver: node,
    };
    this.#endOldest(node);
    this.#streams.add(stream);
    const close = (): void => {
      if (this.#streams.delete(stream)) this.#onVersion(stream);
      // A node connects again under its name, a replica that has ended does not.
      if (stream.receiver !== node) this.#options.changes?.gone(stream.receiver);
    };
    call.on('error', () => undefined);
    call.on('cancelled', close);
    call.on('close', close);
    call.on('end', () => {
      close();
      call.end();
    });
    call.on('data', (request: DeltaDiscoveryRequest) => this.#onRequest(stream, request));
    // Sent at once, so that a node that waits for its turn knows that the control plane responds.
    call.sendMetadata(new Metadata());
    this.#options.log.info({ node }, 'node connected');
  }

  /** Sends changed names to the streams that have subscribed to their type. */
  update(changed: readonly ChangedNames[]): void {
    for (const { typeUrl, node, names } of changed) {
      /** Encoded once for all streams, and once for each set of features that waypoints lack. */
      const blocks = new Map<string, Buffer>();
      for (const stream of this.#streams) {
        if (node !== undefined && stream.node !== node) continue;
        const subscription = stream.subscriptions.get(typeUrl);
        if (!subscription) continue;
        this.#willSend(stream, typeUrl, subscription);
        if (stream.sending || subscription.changed.size > 0) {
          for (const name of names) subscription.changed.add(name);
          continue;
        }
        const lacks = lacksOf(stream);
        const key = lacks.join();
        let block = blocks.get(key);
        if (!block) blocks.set(key, (block = this.#resources.block(typeUrl, stream.node, names, lacks)));
        this.#send(stream, typeUrl, subscription, block);
      }
    }
  }

  #willSend({ receiver }: DeltaStream, typeUrl: string, subscription: Subscription): void {
    const { changes } = this.#options;
    if (!changes) return;
    subscription.delivery = changes.delivery;
    changes.sent(receiver, typeUrl);
  }

  /** The versions of a waypoint's open streams that lack features. */
  olderVersions({ namespace, name }: WaypointName): readonly Capabilities[] {
    const caller = waypointCaller({ namespace, name });
    return [...this.#streams].flatMap(({ node, capabilities }) =>
      node === caller && capabilities && capabilities.lacks.length > 0 ? [capabilities] : [],
    );
  }

  #onVersion({ node, capabilities }: DeltaStream): void {
    if (!capabilities || capabilities.lacks.length === 0) return;
    const { version, lacks } = capabilities;
    this.#options.log.info({ node, version, lacks }, 'a waypoint of another version lacks features');
    this.#options.onVersions?.();
  }

  #block(stream: DeltaStream, typeUrl: string, names: ReadonlySet<string>): Buffer {
    return this.#resources.block(typeUrl, stream.node, names, lacksOf(stream));
  }

  /** Ends the streams whose token is no longer valid. If a token cannot be checked, its stream stays open. */
  async recheck(): Promise<void> {
    await Promise.all([...this.#streams].map((stream) => this.#recheck(stream)));
  }

  /** Ends the oldest streams of a caller that reaches its limit: after a lost connection, the newest stream is the live one. */
  #endOldest(node: string): void {
    const own = [...this.#streams].filter((stream) => stream.node === node);
    const max =
      waypointOfCaller(node) || isRateLimiter(node) ? streamsPerCallerMax.waypoint : streamsPerCallerMax.node;
    for (const stream of own.slice(0, Math.max(0, own.length - max + 1))) {
      this.#options.onLimit?.('control-streams');
      this.#options.log.warn({ node, max }, 'caller has too many discovery streams: oldest stream ended');
      this.#end(stream, status.RESOURCE_EXHAUSTED, 'too many streams of this caller');
    }
  }

  #onRequest(stream: DeltaStream, request: DeltaDiscoveryRequest): void {
    const { log, stale, onLimit, waitingNamesMax = waitingNamesMaxDefault } = this.#options;
    const { node } = stream;
    const { typeUrl } = request;
    if (!stream.capabilities && waypointOfCaller(node)) {
      stream.capabilities = readCapabilities(request.node?.metadata);
      this.#onVersion(stream);
      stream.receiver = this.#receiverOf(node, request.node?.id ?? '');
    }
    if (typeUrl === keySetType) return this.#options.onKeysWanted?.(node, request.resourceNamesSubscribe);
    const subscription = stream.subscriptions.get(typeUrl);
    if (subscription) {
      const delivery = subscription.deliveries.acknowledged(request.responseNonce);
      if (delivery !== undefined)
        this.#options.changes?.acknowledged(
          stream.receiver,
          typeUrl,
          delivery,
          Date.now(),
          request.errorDetail?.message,
        );
      // An unchanged resource would be refused again, so it is not sent again until it changes.
      if (request.errorDetail && request.responseNonce === subscription.nonce)
        log.warn({ node, typeUrl, error: request.errorDetail.message }, 'node refused a resource');
      return;
    }
    // A request with a nonce is an acknowledgment of a type that is not served.
    if (request.responseNonce !== '' || stream.pending.size >= typesMax || !this.#streams.has(stream)) return;
    const why = stale?.();
    if (why !== undefined && Object.keys(request.initialResourceVersions).length > 0) {
      // The node's resources may be newer. It keeps them and reconnects. A node that has no resources receives those of this replica.
      log.warn({ node, why }, 'resources not sent to a node: they may be stale');
      onLimit?.('control-stale');
      return this.#end(
        stream,
        status.UNAVAILABLE,
        `the resources of this replica may be stale: ${why}: reconnect`,
      );
    }
    // The versions of a type that is not served are not needed.
    stream.pending.set(typeUrl, this.#resources.isServed(typeUrl) ? request.initialResourceVersions : {});
    this.#sendNext(stream);
    if (stream.pending.size === 0 || this.#waitingNames(node) <= waitingNamesMax) return;
    onLimit?.('control-waiting-names');
    log.warn({ node }, 'stream ended: too many resource names of its caller wait for a response');
    this.#end(
      stream,
      status.RESOURCE_EXHAUSTED,
      'too many resource names of this caller wait for a response: try again',
    );
  }

  /** `waypoint:<namespace>/<name>/<pod>`, of which the pod is what the caller says. */
  #receiverOf(caller: string, id: string): string {
    const pod = id
      .slice(id.lastIndexOf('~') + 1)
      .replaceAll(/[^\w.-]/g, '_')
      .slice(0, 64);
    const taken = new Set([...this.#streams].map(({ receiver }) => receiver));
    let name = `${caller}/${pod}`;
    for (let number = 2; taken.has(name); number++) name = `${caller}/${pod}-${number}`;
    return name;
  }

  /** Resource names in the requests of a caller that have no response yet. */
  #waitingNames(node: string): number {
    let names = 0;
    for (const stream of this.#streams) {
      if (stream.node !== node) continue;
      for (const versions of stream.pending.values()) names += Object.keys(versions).length;
    }
    return names;
  }

  /** Sends the next message to a stream that has none in flight: a full response first, then changed resources. */
  #sendNext(stream: DeltaStream): void {
    if (stream.sending || !this.#streams.has(stream)) return;
    const [pending] = stream.pending;
    if (pending && this.#turns.mayBegin(stream.node)) return this.#sendFull(stream, ...pending);
    for (const [typeUrl, subscription] of stream.subscriptions) {
      const { changed } = subscription;
      if (changed.size === 0) continue;
      subscription.changed = new Set();
      this.#send(stream, typeUrl, subscription, this.#block(stream, typeUrl, changed));
      return;
    }
  }

  #sendFull(stream: DeltaStream, typeUrl: string, versions: Readonly<Record<string, string>>): void {
    stream.pending.delete(typeUrl);
    const subscription = {
      changed: new Set<string>(),
      nonce: '',
      delivery: this.#options.changes?.delivery ?? 0,
      deliveries: new Deliveries(),
    };
    const block = mayReceive(stream.node, typeUrl)
      ? this.#resources.difference(typeUrl, stream.node, versions, lacksOf(stream))
      : undefined;
    // A type that is not served, or not to this caller, gets an empty response: clients wait for the first response of each type.
    if (block) stream.subscriptions.set(typeUrl, subscription);
    const endTurn = this.#turns.begin(stream.node);
    let over = false;
    const done = (): void => {
      if (over) return;
      over = true;
      clearTimeout(late);
      stream.call.off('close', done);
      endTurn();
      this.#sendWaiting();
    };
    const late = setTimeout(done, fullResponseMsMax);
    stream.call.once('close', done);
    this.#send(stream, typeUrl, subscription, block ?? Buffer.alloc(0), done);
  }

  /** Called when a turn has ended: starts the turns of waiting streams. */
  #sendWaiting(): void {
    const waiting = [...this.#streams].filter(({ pending, sending }) => pending.size > 0 && !sending);
    for (let next = this.#turns.next(waiting); next; next = this.#turns.next(waiting)) {
      waiting.splice(waiting.indexOf(next), 1);
      this.#sendNext(next);
    }
  }

  #send(
    stream: DeltaStream,
    typeUrl: string,
    subscription: Subscription,
    block: Buffer,
    done?: () => void,
  ): void {
    subscription.nonce = String(++stream.nonces);
    subscription.deliveries.sent(subscription.nonce, subscription.delivery);
    stream.sending = true;
    stream.call.write(responseOf(block, typeUrl, subscription.nonce), () => {
      stream.sending = false;
      done?.();
      this.#sendNext(stream);
    });
  }

  async #recheck(stream: DeltaStream): Promise<void> {
    const { log } = this.#options;
    const { node, caller } = stream;
    // A slow check delays only its own stream.
    if (!caller.recheck || this.#rechecking.has(stream)) return;
    this.#rechecking.add(stream);
    try {
      if (await caller.recheck()) return;
    } catch (error) {
      return log.warn({ node, error: errorText(error) }, 'a token could not be checked again');
    } finally {
      this.#rechecking.delete(stream);
    }
    if (!this.#streams.has(stream)) return;
    log.warn(
      { node },
      'stream ended: its token has expired, was revoked, or its pod, node or Gateway is gone',
    );
    this.#end(
      stream,
      status.UNAUTHENTICATED,
      'the token has expired, was revoked, or its pod, node or Gateway is gone',
    );
  }

  #end(stream: DeltaStream, code: status, details: string): void {
    if (this.#streams.delete(stream)) this.#onVersion(stream);
    stream.call.emit('error', { code, details });
  }
}
