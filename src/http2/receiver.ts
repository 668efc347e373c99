import {
  errorCode,
  flagAck,
  flagEndStream,
  frameContinuation,
  frameData,
  frameGoAway,
  frameHeaders,
  framePing,
  framePriority,
  framePushPromise,
  frameRst,
  frameSettings,
  frameWindowUpdate,
  windowBytesMax,
} from './codes.js';
import { Floods, goAwayBytesMax, settingsEntriesMax } from './floods.js';
import {
  FrameReader,
  payloadData,
  payloadSkip,
  payloadStop,
  payloadWhole,
  type FrameSink,
} from './frame-reader.js';
import { Heads } from './heads.js';
import type { ConnectionEnd, ConnectionListener, ConnectionOptions, Fields } from './http2.js';
import { ReceiveWindow } from './receive-window.js';
import { anyLength } from './message-length.js';
import type { Sender } from './sender.js';
import type { PeerSettings } from './settings.js';
import type { StreamEvents } from './stream-events.js';
import type { StreamWriter } from './stream-writer.js';
import type { Stream } from './stream.js';

/** The part of the connection that the receiver uses. */
export interface ReceiverOwner {
  readonly streams: Map<number, Stream>;
  readonly sender: Sender;
  readonly peer: PeerSettings;
  readonly listener: ConnectionListener;
  /** Streams above it are ignored. */
  readonly goAwayId: number;
  readonly events: StreamEvents;
  readonly writer: StreamWriter;
  schedule(): void;
  onSettings(): void;
  /** False: it acknowledges nothing. */
  onPingAck(opaque: Buffer): boolean;
  onGoAway(lastId: number, code: number, debug: string): void;
  /** Client: whether a stream of this id was opened. */
  isKnownClient(id: number): boolean;
  fail(kind: ConnectionEnd['kind'], code: number, why: string): void;
}

/** The last streams that the peer has ended: a frame that carries something is an error on these, and ignored on other closed ones. */
const endedIdsMax = 64;

/** The receiving half: frames, stream states, the peer's flow control. */
export class Receiver implements FrameSink {
  readonly window: ReceiveWindow;
  readonly floods: Floods;
  readonly heads: Heads;
  readonly #reader: FrameReader;
  readonly #isServer: boolean;
  #hasSettings = false;
  /** The stream of the DATA frame that is being read; undefined: its bytes are dropped. */
  #dataStream: Stream | undefined;
  readonly #endedIds = new Int32Array(endedIdsMax);
  #endedAt = 0;

  constructor(
    readonly owner: ReceiverOwner,
    private readonly options: ConnectionOptions,
  ) {
    this.#isServer = options.role === 'server';
    this.#reader = new FrameReader(this, this.#isServer);
    this.floods = new Floods(owner.sender);
    this.window = new ReceiveWindow(
      owner.sender.output,
      options.connectionWindowBytes,
      options.streamWindowBytes,
      options.bufferedBytesMax,
      () => this.#shedBuffered(),
      () => owner.schedule(),
    );
    this.heads = new Heads(this, options);
  }

  /** Reads what the transport has received. */
  read(bytes: Buffer): void {
    this.#reader.read(bytes);
  }

  /** Reads nothing more: the connection has ended. */
  stop(): void {
    this.#reader.isStopped = true;
  }

  /** A header block has begun and is incomplete. */
  get isInBlock(): boolean {
    return this.heads.blocks.id !== 0 || this.#reader.incompleteType === frameHeaders;
  }

  // ---- frames

  onBadPreface(): void {
    this.fault(errorCode.protocol, 'the preface is not that of HTTP/2');
  }

  onBadPadding(): void {
    this.fault(errorCode.protocol, 'padding exceeds the frame');
  }

  onFrame(type: number, flags: number, id: number, length: number): number {
    if (length > this.options.frameBytesMax)
      return this.fault(errorCode.frameSize, `a frame of ${length} bytes`);
    const blockId = this.heads.blocks.id;
    if (blockId !== 0 && (type !== frameContinuation || id !== blockId))
      return this.fault(errorCode.protocol, 'a frame within a header block');
    if (!this.#hasSettings && (type !== frameSettings || (flags & flagAck) !== 0))
      return this.fault(errorCode.protocol, 'the first frame is not SETTINGS');
    switch (type) {
      case frameData:
        return this.#onDataFrame(flags, id, length);
      case frameHeaders:
        return this.heads.onFrame(id, length);
      case frameContinuation:
        return this.heads.onContinuationFrame(length);
      case frameSettings:
        if (id !== 0) return this.fault(errorCode.protocol, 'SETTINGS on a stream');
        if ((flags & flagAck) !== 0 ? length !== 0 : length % 6 !== 0)
          return this.fault(errorCode.frameSize, 'the length of SETTINGS');
        if (length > 6 * settingsEntriesMax)
          return this.flood(`SETTINGS with more than ${settingsEntriesMax} entries`);
        return payloadWhole;
      case framePing:
        if (id !== 0) return this.fault(errorCode.protocol, 'PING on a stream');
        return length === 8 ? payloadWhole : this.fault(errorCode.frameSize, 'the length of PING');
      case frameRst:
      case frameWindowUpdate:
        if (length !== 4) return this.fault(errorCode.frameSize, `the length of frame type ${type}`);
        if (type === frameRst && id === 0)
          return this.fault(errorCode.protocol, 'RST_STREAM without a stream');
        if (id !== 0 && this.isIdle(id)) return this.fault(errorCode.protocol, 'a frame on an idle stream');
        return payloadWhole;
      case framePriority:
        if (id === 0) return this.fault(errorCode.protocol, 'PRIORITY without a stream');
        if (length !== 5) return this.fault(errorCode.frameSize, 'the length of PRIORITY');
        return this.floods.useless() ? payloadWhole : this.flood('PRIORITY frames');
      case frameGoAway:
        if (id !== 0) return this.fault(errorCode.protocol, 'GOAWAY on a stream');
        if (length < 8) return this.fault(errorCode.frameSize, 'the length of GOAWAY');
        return length <= goAwayBytesMax ? payloadWhole : this.flood('bytes in a GOAWAY');
      case framePushPromise:
        return this.fault(errorCode.protocol, 'PUSH_PROMISE, which was not allowed');
      default:
        return this.floods.useless() ? payloadSkip : this.flood('frames of unknown types');
    }
  }

  onPayload(type: number, flags: number, id: number, payload: Buffer): void {
    switch (type) {
      case frameHeaders:
        return this.heads.onHeaders(flags, id, payload);
      case frameContinuation:
        return this.heads.onContinuation(flags, id, payload);
      case frameSettings:
        return this.#onSettings(flags, payload);
      case framePing:
        if ((flags & flagAck) !== 0) {
          if (!this.owner.onPingAck(payload) && !this.floods.useless()) this.flood('PING acknowledgments');
          return;
        }
        if (!this.floods.ping()) return void this.flood('PING frames');
        this.owner.sender.output.ping(true, payload);
        this.owner.writer.controlFrames++;
        return this.owner.schedule();
      case frameRst:
        return this.#onRst(id, payload.readUInt32BE(0));
      case frameWindowUpdate:
        return this.#onWindowUpdate(id, payload.readUInt32BE(0) & windowBytesMax);
      case framePriority:
        if ((payload.readUInt32BE(0) & windowBytesMax) === id)
          this.fault(errorCode.protocol, 'a stream that depends on itself');
        return;
      case frameGoAway: {
        if (!this.floods.useless()) return void this.flood('GOAWAY frames');
        const debug = payload.toString('latin1', 8, 8 + 128).replace(/[^\x20-\x7e]/g, '?');
        const lastId = payload.readUInt32BE(0) & windowBytesMax;
        return this.owner.onGoAway(lastId, payload.readUInt32BE(4), debug === '' ? '' : `: ${debug}`);
      }
    }
  }

  /** The peer may not have sent anything on this stream yet. */
  isIdle(id: number): boolean {
    return this.#isServer ? (id & 1) === 0 || id > this.heads.openedId : !this.owner.isKnownClient(id);
  }

  /** The peer has ended this stream, and it is one of the last `endedIdsMax` such streams. */
  wasEnded(id: number): boolean {
    return this.#endedIds.includes(id);
  }

  onRemoteEnded(id: number): void {
    this.#endedIds[this.#endedAt] = id;
    this.#endedAt = (this.#endedAt + 1) % endedIdsMax;
  }

  // ---- DATA

  #onDataFrame(flags: number, id: number, length: number): number {
    if (id === 0) return this.fault(errorCode.protocol, 'DATA without a stream');
    if (!this.window.take(length))
      return this.fault(errorCode.flowControl, "DATA beyond the connection's window");
    const stream = this.owner.streams.get(id);
    this.#dataStream = undefined;
    if (stream === undefined) {
      if (this.isIdle(id)) return this.fault(errorCode.protocol, 'DATA on an idle stream');
      if (this.wasEnded(id)) return this.fault(errorCode.streamClosed, 'DATA after END_STREAM');
      if (length === 0 && !this.floods.useless()) return this.flood('frames on closed streams');
      return payloadData;
    }
    if (stream.isRemoteEnded) return this.fault(errorCode.streamClosed, 'DATA after END_STREAM');
    if (!stream.hasHead) {
      this.invalid(stream, errorCode.protocol, 'DATA before HEADERS');
      return payloadData;
    }
    if (length === 0) {
      if ((flags & flagEndStream) === 0 && !this.floods.emptyData()) return this.flood('empty DATA frames');
    } else if (length > stream.receiveWindow) {
      this.invalid(stream, errorCode.flowControl, "DATA beyond the stream's window");
      return payloadData;
    } else {
      stream.receiveWindow -= length;
      this.floods.work++;
    }
    this.#dataStream = stream;
    return payloadData;
  }

  onDataPart(bytes: Buffer): void {
    const stream = this.#dataStream;
    if (stream === undefined || stream.isClosed || stream.isDiscarding) return this.#credit(bytes.length);
    if (stream.bodyLeft !== anyLength && (stream.bodyLeft -= bytes.length) < 0) {
      this.#credit(bytes.length);
      return this.invalid(stream, errorCode.protocol, 'more DATA than the message may have');
    }
    if (stream.isPaused || stream.buffered !== undefined) {
      return this.owner.events.buffer(stream, bytes);
    }
    stream.listener?.onData(bytes);
    this.#credit(bytes.length);
    if (this.window.creditStream(stream, bytes.length)) this.owner.schedule();
  }

  onDataEnd(flags: number, padding: number): void {
    const stream = this.#dataStream;
    this.#dataStream = undefined;
    if (padding > 0) this.#credit(padding);
    if (stream === undefined || stream.isClosed) return;
    if (padding > 0) this.window.creditStream(stream, padding);
    if ((flags & flagEndStream) !== 0) this.endRemote(stream, undefined);
  }

  #credit(bytes: number): void {
    if (this.window.credit(bytes)) this.owner.schedule();
  }

  /** The peer's direction is complete. */
  endRemote(stream: Stream, trailers: Fields | undefined): void {
    if (stream.bodyLeft > 0 && !stream.isDiscarding)
      return this.invalid(stream, errorCode.protocol, 'less DATA than content-length');
    stream.isRemoteEnded = true;
    if (!stream.isDiscarding) {
      if (stream.isPaused || stream.buffered !== undefined) {
        stream.bufferedTrailers = trailers;
        return;
      }
      stream.isEndDelivered = true;
      stream.listener?.onEnd(trailers);
    } else stream.isEndDelivered = true;
    if (stream.isLocalEnded) this.owner.events.close(stream);
  }

  // ---- the others

  #onRst(id: number, code: number): void {
    const stream = this.owner.streams.get(id);
    if (stream === undefined) {
      if (!this.floods.useless()) this.flood('frames on closed streams');
      return;
    }
    // Of a server the resets are bounded by this side's requests.
    if (this.#isServer && !this.floods.resets.take()) return void this.flood('streams that were reset');
    this.owner.events.reset(stream, {
      code,
      by: 'peer',
      isUnprocessed: code === errorCode.refusedStream && !stream.hasHead,
      why: `the peer reset the stream (code ${code})`,
    });
  }

  #onWindowUpdate(id: number, bytes: number): void {
    const { sender, streams } = this.owner;
    if (!this.floods.windowUpdate()) return void this.flood('WINDOW_UPDATE frames');
    if (id === 0) {
      if (bytes === 0) return void this.fault(errorCode.protocol, 'WINDOW_UPDATE of 0');
      if (sender.window + bytes > windowBytesMax)
        return void this.fault(errorCode.flowControl, "the connection's window is too large");
      sender.window += bytes;
      if (sender.canPump) this.owner.schedule();
      return;
    }
    const stream = streams.get(id);
    if (stream === undefined) return;
    if (bytes === 0) return this.invalid(stream, errorCode.protocol, 'WINDOW_UPDATE of 0');
    if (stream.sendWindow + bytes > windowBytesMax)
      return this.invalid(stream, errorCode.flowControl, "the stream's window is too large");
    stream.sendWindow += bytes;
    if (stream.queue === undefined || stream.queue.bytes === 0) return;
    sender.enqueue(stream);
    this.owner.schedule();
  }

  #onSettings(flags: number, payload: Buffer): void {
    const { owner } = this;
    if ((flags & flagAck) !== 0) {
      this.window.onAcknowledged(owner.streams.values());
      if (!this.floods.useless()) this.flood('SETTINGS acknowledgments');
      return;
    }
    this.#hasSettings = true;
    if (!this.floods.settings.take()) return void this.flood('SETTINGS frames');
    const { peer, sender } = owner;
    const before = peer.initialWindowBytes;
    const code = peer.apply(payload);
    if (code !== errorCode.none) return void this.fault(code, 'an invalid value in SETTINGS');
    const more = peer.initialWindowBytes - before;
    if (more !== 0)
      for (const stream of owner.streams.values()) {
        stream.sendWindow += more;
        if (stream.sendWindow > windowBytesMax)
          return void this.fault(errorCode.flowControl, "a stream's window is too large");
        sender.enqueue(stream);
      }
    sender.output.settingsAck();
    owner.writer.controlFrames++;
    owner.schedule();
    owner.onSettings();
  }

  /** The process buffers too much: the stream that buffers most is reset. */
  #shedBuffered(): void {
    const { events, streams, writer } = this.owner;
    let most: Stream | undefined;
    for (const stream of streams.values())
      if ((stream.buffered?.bytes ?? 0) > (most?.buffered?.bytes ?? 0)) most = stream;
    if (!most) return;
    const code = errorCode.enhanceYourCalm;
    if (!most.isRemoteEnded || !most.isLocalEnded) writer.reset(most.id, code);
    const why = 'too much is buffered for streams whose reader is slow';
    events.resetLater(most, { code, by: 'connection', isUnprocessed: false, why });
  }

  // ---- faults

  /** A stream's frame is invalid: the stream is reset, and the connection goes on until there are too many. */
  invalid(stream: Stream, code: number, why: string): void {
    if (!this.floods.resets.take()) return void this.flood('streams that were reset');
    const { events, writer } = this.owner;
    writer.reset(stream.id, code);
    events.close(stream);
    stream.listener?.onReset({ code, by: 'protocol', isUnprocessed: false, why });
  }

  /** The peer violated the protocol: the connection ends with this error code. */
  fault(code: number, why: string): number {
    this.stop();
    this.owner.fail('protocol', code, why);
    return payloadStop;
  }

  /** The peer exceeded a limit: the connection ends with ENHANCE_YOUR_CALM. */
  flood(why: string): number {
    this.stop();
    this.owner.fail('flood', errorCode.enhanceYourCalm, `too many ${why}`);
    return payloadStop;
  }
}
