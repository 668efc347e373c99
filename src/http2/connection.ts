import { errorCode, streamIdMax } from './codes.js';
import { Deadline } from './deadline.js';
import { listBytes } from './fields.js';
import { queuedBytesMax, queuedControlFramesMax } from './floods.js';
import { preface } from './frame-reader.js';
import { HpackEncoder } from './hpack/encoder.js';
import type {
  ConnectionEnd,
  ConnectionListener,
  ConnectionOptions,
  Fields,
  Http2Connection,
  Http2Stream,
  StreamReset,
  Transport,
  TransportListener,
} from './http2.js';
import { methodOf } from './message-length.js';
import { Receiver, type ReceiverOwner } from './receiver.js';
import { schedule, type Flushable } from './scheduler.js';
import { Sender } from './sender.js';
import { localSettings, PeerSettings } from './settings.js';
import { StreamEvents } from './stream-events.js';
import { Stream, type StreamOwner } from './stream.js';

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

class Connection implements Http2Connection, StreamOwner, ReceiverOwner, Flushable, TransportListener {
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
  /** Callbacks of the pings that wait for their acknowledgements, and the number of those that came. */
  #pings: (() => void)[] = [];
  #pingAcks = 0;
  /** Control frames in the output since the last write to the transport. */
  #controlFrames = 0;
  readonly #encoder = new HpackEncoder();
  readonly #receiver: Receiver;
  readonly #events: StreamEvents;

  constructor(
    readonly transport: Transport,
    readonly options: ConnectionOptions,
    readonly listener: ConnectionListener,
  ) {
    this.depth = transport.depth;
    this.peer = new PeerSettings(options.role);
    this.sender = new Sender(options.backlogBytesMax, (stream) => this.#finish(stream));
    const { output } = this.sender;
    if (options.role === 'client') output.raw(preface);
    output.settings(localSettings(options));
    this.#receiver = new Receiver(this, options);
    this.#events = new StreamEvents(this, this.#receiver.window);
    transport.listener = this;
    this.#deadline.arm('settings', options.settingsTimeoutMsMax);
    if (!transport.isOpen) {
      this.#isTransportClosed = true;
      this.#peerClosed('the connection was closed');
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
    const stream = new Stream(this, id, this.peer.initialWindowBytes, this.#receiver.window.ofStreams);
    this.streams.set(id, stream);
    stream.method = methodOf(fields);
    stream.isEnding = endStream;
    this.sendHead(stream, fields, endStream);
    return stream;
  }

  ping(onAck: () => void): void {
    if (this.#end) return;
    this.#pings.push(onAck);
    const opaque = Buffer.alloc(8);
    opaque.writeUInt32BE(this.#pingAcks + this.#pings.length, 4);
    this.sender.output.ping(false, opaque);
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

  // ---- streams' calls

  sendHead(stream: Stream, fields: Fields, endStream: boolean): void {
    const { headerListBytesMax } = this.peer;
    if (headerListBytesMax !== undefined && listBytes(fields) > headerListBytesMax)
      return this.#failLate(stream, `the peer accepts at most ${headerListBytesMax} bytes of header fields`);
    const { output } = this.sender;
    output.beginHeaders();
    this.#encoder.encode(fields, output);
    output.finishHeaders(stream.id, endStream, this.sender.frameBytesMax);
    if (endStream) this.endLocal(stream);
    schedule(this);
  }

  /** The head cannot be sent. Later blocks and windows do not depend on it. */
  #failLate(stream: Stream, why: string): void {
    const isNew = this.options.role === 'client' && !stream.hasHead;
    if (!isNew) this.sender.output.rst(stream.id, errorCode.internal);
    const code = errorCode.internal;
    this.#events.resetLater(stream, { code, by: 'protocol', isUnprocessed: isNew, why });
  }

  sendData(stream: Stream, bytes: Buffer): boolean {
    schedule(this);
    return this.sender.write(stream, bytes);
  }

  sendEnd(stream: Stream, trailers: Fields | undefined): void {
    stream.trailers = trailers && trailers.length > 0 ? trailers : undefined;
    if (stream.queue && stream.queue.bytes > 0) return;
    this.#finish(stream);
    schedule(this);
  }

  /** Everything before END_STREAM is in the output. */
  #finish(stream: Stream): void {
    const { trailers } = stream;
    if (trailers) {
      stream.trailers = undefined;
      this.sendHead(stream, trailers, true);
      return;
    }
    const { output } = this.sender;
    if (!output.endLast(stream.id)) output.data(stream.id, noBytes, true);
    this.endLocal(stream);
  }

  endLocal(stream: Stream): void {
    stream.isLocalEnded = true;
    if (stream.isEndDelivered) this.#events.close(stream);
    else if (stream.isDiscarding) this.#endDiscarded(stream);
  }

  sendReset(stream: Stream, code: number): void {
    this.#writeReset(stream.id, code);
    this.#events.close(stream);
  }

  #writeReset(id: number, code: number): void {
    this.sender.output.rst(id, code);
    this.onControlFrame();
  }

  discardInput(stream: Stream): void {
    this.#events.dropKept(stream);
    if (stream.isRemoteEnded) stream.isEndDelivered = true;
    if (stream.isLocalEnded) this.#endDiscarded(stream);
  }

  /** The response is complete, and the rest of the request is not wanted (RFC 9113, section 8.1). */
  #endDiscarded(stream: Stream): void {
    if (!stream.isRemoteEnded) this.#writeReset(stream.id, errorCode.none);
    this.#events.close(stream);
  }

  resumeInput(stream: Stream): void {
    this.#events.resume(stream);
  }

  // ---- what the receiver found

  closeStream(stream: Stream): void {
    this.#events.close(stream);
  }

  resetStream(stream: Stream, reset: StreamReset): void {
    this.#events.reset(stream, reset);
  }

  /** The peer's frames on a stream are invalid. */
  resetInvalid(stream: Stream, code: number, why: string): void {
    this.#writeReset(stream.id, code);
    this.#events.close(stream);
    stream.listener?.onReset({ code, by: 'protocol', isUnprocessed: false, why });
  }

  refuse(id: number, code: number): void {
    this.#writeReset(id, code);
  }

  keep(stream: Stream, bytes: Buffer): void {
    this.#events.keep(stream, bytes);
  }

  onRemoteEnded(id: number): void {
    this.#receiver.onRemoteEnded(id);
  }

  onStreamClosed(stream: Stream): void {
    this.listener.onStreamClosed(stream);
  }

  /** A control frame of this side was written; floods of them are bounded while the peer does not read. */
  onControlFrame(): void {
    this.#controlFrames++;
    schedule(this);
  }

  onSettings(): void {
    if (this.#deadline.isArmed('settings')) this.#deadline.disarm();
    this.sender.frameBytesMax = this.peer.frameBytesMax;
    for (const bytes of this.peer.headerTableSizes) this.#encoder.setTableBytesMax(bytes);
    this.listener.onSettings();
  }

  onPingAck(opaque: Buffer): boolean {
    if (this.#pings.length === 0 || opaque.readUInt32BE(4) !== this.#pingAcks + 1) return false;
    this.#pingAcks++;
    this.#pings.shift()?.();
    return true;
  }

  onGoAway(lastId: number, code: number, debug: string): void {
    this.#hasGoAway = true;
    this.#goAwayCode = code;
    if (this.options.role === 'client')
      for (const stream of [...this.streams.values()])
        if (stream.id > lastId)
          this.resetStream(stream, {
            code: errorCode.refusedStream,
            by: 'connection',
            isUnprocessed: true,
            why: `the peer's GOAWAY excludes the stream (code ${code}${debug})`,
          });
    if (this.#end) return;
    this.listener.onGoAway(lastId, code);
    schedule(this);
  }
  #goAwayCode = 0;

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
    this.#peerClosed('the peer closed the connection');
  }

  onClose(why: string | undefined): void {
    this.#isTransportClosed = true;
    clearTimeout(this.#lingerTimer);
    if (!this.#end) this.#peerClosed(why ?? 'the connection was closed');
    else if (this.#isLingering) {
      this.#isLingering = false;
      schedule(this);
    }
  }

  #peerClosed(why: string): void {
    const code = this.#goAwayCode;
    const isInOrder = code === 0 && (this.streams.size === 0 || this.#isOnlyKept());
    this.#close({ kind: isInOrder ? 'closed' : 'peer', code, why }, false);
  }

  #isOnlyKept(): boolean {
    for (const stream of this.streams.values()) if (!stream.isRemoteEnded) return false;
    return true;
  }

  // ---- the end

  #goAway(lastId: number, code: number, why: string): void {
    this.#hasSentGoAway = true;
    this.goAwayId = lastId;
    this.sender.output.goAway(lastId, code, why);
  }

  /** @param isNow by the owner: the transport goes at once */
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
    this.#pings = [];
    if (!this.#isTransportClosed) {
      this.#writeOut();
      if (isNow || end.kind === 'peer') this.transport.destroy();
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
      this.resetStream(stream, {
        code: end.code === 0 ? errorCode.cancel : end.code,
        by: end.kind === 'protocol' || end.kind === 'flood' ? 'protocol' : 'connection',
        isUnprocessed: isUnsent,
        why: end.why,
      });
    }
    this.#events.deliverClosed();
    if (this.streams.size > 0 || this.#isLingering || this.#isEndDelivered) return;
    this.#isEndDelivered = true;
    this.listener.onClose(end);
  }

  // ---- the flush

  flush(): void {
    this.#events.deliverKept();
    if (!this.#end) {
      this.sender.pump();
      this.#writeOut();
    }
    this.#events.deliver();
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
      if (this.#controlFrames > queuedControlFramesMax || output.pending > queuedBytesMax)
        this.fail('flood', errorCode.enhanceYourCalm, 'frames are queued and the peer does not read');
      return;
    }
    this.#sentId = this.#nextId - 2;
    this.#controlFrames = 0;
    if (!this.transport.write(output.take())) sender.isBlocked = true;
  }
}

const noBytes = Buffer.alloc(0);
