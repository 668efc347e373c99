import { errorCode, streamIdMax } from './codes.js';
import { Deadline } from './deadline.js';
import { queuedBytesMax, queuedControlFramesMax } from './floods.js';
import { preface } from './frame-reader.js';
import type {
  ConnectionEnd,
  ConnectionListener,
  ConnectionOptions,
  Fields,
  Http2Connection,
  Http2Stream,
  Transport,
  TransportListener,
} from './http2.js';
import { methodOf } from './message-length.js';
import { Pings } from './pings.js';
import { Receiver, type ReceiverOwner } from './receiver.js';
import { schedule, type Flushable } from './scheduler.js';
import { Sender } from './sender.js';
import { localSettings, PeerSettings } from './settings.js';
import { StreamEvents } from './stream-events.js';
import { StreamWriter } from './stream-writer.js';
import { Stream } from './stream.js';

/** Time for the peer to close a transport after its end; then it is destroyed. */
const lingerMs = 1_000;
/** Time for the peer to acknowledge the first GOAWAY of a server's drain. */
const drainAckMsMax = 1_000;

/** Starts HTTP/2 on a transport. The listener gets no event within this call. */
export function createConnection(
  transport: Transport,
  options: ConnectionOptions,
  listener: ConnectionListener,
): Http2Connection {
  return new Connection(transport, options, listener);
}

class Connection implements Http2Connection, ReceiverOwner, Flushable, TransportListener {
  isScheduled = false;
  readonly depth: number;
  readonly streams = new Map<number, Stream>();
  readonly sender: Sender;
  readonly peer: PeerSettings;
  /** Client: the next stream's id. */
  #nextId = 1;
  /** Client: streams up to this id were handed to the transport. */
  #sentId = 0;
  /** GOAWAY: this side's (server: streams above it are ignored), and whether the peer's has arrived. */
  goAwayId = streamIdMax;
  #hasSentGoAway = false;
  #hasGoAway = false;
  /** The error code of the peer's GOAWAY. */
  #goAwayCode: number = errorCode.none;
  #isDraining = false;
  #end: ConnectionEnd | undefined;
  #isEndDelivered = false;
  /** The transport's end was sent, and `onClose` waits for the transport. */
  #isLingering = false;
  #isTransportClosed = false;
  #lingerTimer: NodeJS.Timeout | undefined;
  /** Completed header blocks when the deadline of a block began. */
  #blocksSeen = 0;
  readonly #deadline = new Deadline((kind) => this.#onLate(kind));
  #drainTimer: NodeJS.Timeout | undefined;
  readonly #pings = new Pings();
  readonly #receiver: Receiver;
  readonly events: StreamEvents;
  readonly writer: StreamWriter;

  constructor(
    readonly transport: Transport,
    readonly options: ConnectionOptions,
    readonly listener: ConnectionListener,
  ) {
    this.depth = transport.depth;
    this.peer = new PeerSettings(options.role);
    this.sender = new Sender(options.backlogBytesMax, (stream) => this.writer.finish(stream));
    const { output } = this.sender;
    if (options.role === 'client') output.raw(preface);
    output.settings(localSettings(options));
    this.#receiver = new Receiver(this, options);
    this.events = new StreamEvents(this, this.#receiver.window);
    this.writer = new StreamWriter(this, options.role === 'client');
    transport.listener = this;
    this.#deadline.arm('settings', options.settingsTimeoutMsMax);
    if (!transport.isOpen) {
      this.#isTransportClosed = true;
      this.#peerClosed(undefined);
    }
    schedule(this);
  }

  get openStreams(): number {
    return this.streams.size;
  }
  get isClosed(): boolean {
    return this.#end !== undefined;
  }
  get isDraining(): boolean {
    return this.#isDraining || this.#hasGoAway || this.#end !== undefined;
  }
  get canOpen(): boolean {
    return (
      !this.isDraining &&
      this.streams.size < this.peer.maxConcurrentStreams &&
      this.#nextId < streamIdMax &&
      this.transport.isOpen
    );
  }
  /** The bytes and frames that were written are to leave with this turn's flush. */
  schedule(): void {
    schedule(this);
  }

  // ---- the owner's calls

  request(fields: Fields, endStream: boolean): Http2Stream | undefined {
    if (!this.canOpen || this.options.role !== 'client') return undefined;
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = new Stream(
      this.writer,
      id,
      this.peer.initialWindowBytes,
      this.#receiver.window.newStreamBytes,
    );
    this.streams.set(id, stream);
    stream.method = methodOf(fields);
    stream.isEnding = endStream;
    this.writer.sendHead(stream, fields, endStream);
    return stream;
  }

  ping(onAck: () => void): void {
    if (this.#end) return;
    this.sender.output.ping(false, this.#pings.add(onAck));
    schedule(this);
  }

  drain(): void {
    if (this.#isDraining || this.#end) return;
    this.#isDraining = true;
    if (this.options.role === 'client') this.#goAway(0, errorCode.none, '');
    else {
      // Requests that are under way are accepted until the peer has seen the first GOAWAY (RFC 9113, section 6.8).
      this.sender.output.goAway(streamIdMax, errorCode.none, '');
      this.ping(() => this.#drained());
      this.#drainTimer = setTimeout(() => this.#drained(), drainAckMsMax);
    }
    schedule(this);
  }

  #drained(): void {
    clearTimeout(this.#drainTimer);
    if (this.#hasSentGoAway || this.#end) return;
    this.#goAway(this.#receiver.heads.lastId, errorCode.none, '');
    schedule(this);
  }

  destroy(code: number = errorCode.none): void {
    this.#close({ kind: 'local', code, why: 'destroyed' }, true);
  }

  // ---- the receiver's calls

  onRemoteEnded(id: number): void {
    this.#receiver.onRemoteEnded(id);
  }

  onStreamClosed(stream: Stream): void {
    this.listener.onStreamClosed(stream);
  }

  onSettings(): void {
    if (this.#deadline.isArmed('settings')) this.#deadline.disarm();
    this.writer.applySettings();
    this.listener.onSettings();
  }

  onPingAck(opaque: Buffer): boolean {
    return this.#pings.onAck(opaque);
  }

  onGoAway(lastId: number, code: number, debug: string): void {
    this.#hasGoAway = true;
    this.#goAwayCode = code;
    if (this.options.role === 'client')
      for (const stream of [...this.streams.values()])
        if (stream.id > lastId)
          this.events.reset(stream, {
            code: errorCode.refusedStream,
            by: 'connection',
            isUnprocessed: true,
            why: `the peer's GOAWAY excludes the stream (code ${code}${debug})`,
          });
    if (this.#end) return;
    this.listener.onGoAway(lastId, code);
    schedule(this);
  }

  isKnownClient(id: number): boolean {
    return (id & 1) === 1 && id < this.#nextId;
  }

  fail(kind: ConnectionEnd['kind'], code: number, why: string): void {
    this.#close({ kind, code, why }, false);
  }

  // ---- the transport's events

  onData(bytes: Buffer): void {
    if (this.#end) return;
    this.#receiver.read(bytes);
    if (this.#end) return;
    if (this.#receiver.isInBlock) {
      if (this.#deadline.arm('block', this.options.headerBlockTimeoutMsMax))
        this.#blocksSeen = this.#receiver.heads.completed;
    } else if (this.#deadline.isArmed('block')) this.#deadline.disarm();
  }

  #onLate(kind: 'settings' | 'block'): void {
    if (kind === 'settings')
      return this.fail('timeout', errorCode.settingsTimeout, 'no SETTINGS frame in time');
    // Every read of a busy connection may end within a block: it is another one than that for which the timer was started.
    const { completed } = this.#receiver.heads;
    if (completed !== this.#blocksSeen) {
      this.#blocksSeen = completed;
      if (this.#receiver.isInBlock) this.#deadline.arm('block', this.options.headerBlockTimeoutMsMax);
    } else this.fail('timeout', errorCode.enhanceYourCalm, 'a header block did not arrive in time');
  }

  onDrain(): void {
    this.sender.isBlocked = false;
    schedule(this);
  }

  onEnd(): void {
    if (this.#end) {
      if (this.#isLingering) this.transport.destroy();
      return;
    }
    this.#peerClosed(undefined);
  }

  onClose(why: string | undefined): void {
    this.#isTransportClosed = true;
    clearTimeout(this.#lingerTimer);
    if (!this.#end) this.#peerClosed(why);
    else if (this.#isLingering) {
      this.#isLingering = false;
      schedule(this);
    }
  }

  /** @param why undefined: in order */
  #peerClosed(why: string | undefined): void {
    const code = this.#goAwayCode;
    const isInOrder = code === 0 && why === undefined && this.#isComplete();
    this.#close(
      { kind: isInOrder ? 'closed' : 'peer', code, why: why ?? 'the peer closed the connection' },
      !isInOrder,
    );
  }

  /** All that streams wait for is that their owners read. */
  #isComplete(): boolean {
    for (const stream of this.streams.values())
      if (!stream.isRemoteEnded || !stream.isLocalEnded) return false;
    return true;
  }

  // ---- the end

  #goAway(lastId: number, code: number, why: string): void {
    this.#hasSentGoAway = true;
    this.goAwayId = lastId;
    this.sender.output.goAway(lastId, code, why);
  }

  /** @param isNow the transport goes at once. Otherwise it stays until the peer has read the rest: closing a socket with unread octets resets it, which would take what is under way from the peer. */
  #close(end: ConnectionEnd, isNow: boolean): void {
    if (this.#end) {
      if (isNow) this.#cut();
      return;
    }
    const isQuiet = this.#isTransportClosed || end.kind === 'peer';
    if (!isQuiet && !(end.kind === 'closed' && this.#hasSentGoAway))
      this.#goAway(this.#receiver.heads.lastId, end.code, end.why);
    this.#end = end;
    this.#receiver.stop();
    this.#deadline.disarm();
    clearTimeout(this.#drainTimer);
    this.#pings.clear();
    if (!this.#isTransportClosed) {
      this.#writeOut();
      if (isNow) this.transport.destroy();
      else {
        this.transport.end();
        this.#lingerTimer = setTimeout(() => this.#cut(), lingerMs);
        this.#isLingering = end.kind === 'closed';
      }
    }
    schedule(this);
  }

  #cut(): void {
    clearTimeout(this.#lingerTimer);
    this.#isLingering = false;
    if (!this.#isTransportClosed) this.transport.destroy();
    schedule(this);
  }

  /** All streams get their last event, then the connection does. */
  #deliverEnd(end: ConnectionEnd): void {
    const isByOwner = end.kind === 'local';
    for (const stream of [...this.streams.values()]) {
      if (isByOwner) stream.isDiscarding = true;
      const isUnsent = this.options.role === 'client' && stream.id > this.#sentId;
      this.events.reset(stream, {
        code: end.code === 0 ? errorCode.cancel : end.code,
        by: end.kind === 'protocol' || end.kind === 'flood' ? 'protocol' : 'connection',
        isUnprocessed: isUnsent,
        why: end.why,
      });
    }
    this.events.deliverClosed();
    if (this.streams.size > 0 || this.#isLingering || this.#isEndDelivered) return;
    this.#isEndDelivered = true;
    this.listener.onClose(end);
  }

  // ---- the flush

  flush(): void {
    this.events.deliverBuffered();
    if (!this.#end) {
      this.sender.pump();
      this.#writeOut();
    }
    this.events.deliver();
    if (this.#end) return this.#deliverEnd(this.#end);
    if (this.streams.size === 0 && (this.#hasSentGoAway || this.#hasGoAway)) {
      const why = this.#hasGoAway ? 'the peer sent GOAWAY' : 'drained';
      const kind = this.#goAwayCode === 0 ? 'closed' : 'peer';
      return this.#close({ kind, code: this.#goAwayCode, why }, false);
    }
    if (this.sender.canPump) schedule(this);
  }

  #writeOut(): void {
    const { sender } = this;
    const { output } = sender;
    if (output.pending === 0) return;
    if (sender.isBlocked && !this.#end) {
      if (this.writer.controlFrames > queuedControlFramesMax || output.pending > queuedBytesMax)
        this.fail('flood', errorCode.enhanceYourCalm, 'frames are queued and the peer does not read');
      return;
    }
    this.#sentId = this.#nextId - 2;
    this.writer.controlFrames = 0;
    if (!this.transport.write(output.take())) sender.isBlocked = true;
  }
}
