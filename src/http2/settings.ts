import {
  errorCode,
  frameBytesLimit,
  frameBytesMin,
  initialWindowBytes,
  settingEnablePush,
  settingHeaderTableSize,
  settingInitialWindowSize,
  settingMaxConcurrentStreams,
  settingMaxFrameSize,
  settingMaxHeaderListSize,
  windowBytesMax,
} from './codes.js';
import type { ConnectionOptions } from './http2.js';

/** Streams that a client may open before the peer's SETTINGS have arrived; nghttp2 assumes the same. */
const streamsBeforeSettings = 100;
/** SETTINGS_MAX_CONCURRENT_STREAMS of a peer that does not announce it: no limit (RFC 9113, section 6.5.2). */
const streamsUnlimited = 0xffff_ffff;

/** This side's SETTINGS, flat: identifier, value, identifier, value ... */
export function localSettings(options: ConnectionOptions): number[] {
  const entries = [
    settingInitialWindowSize,
    options.streamWindowBytes,
    settingMaxFrameSize,
    options.frameBytesMax,
    settingMaxHeaderListSize,
    options.headerListBytesMax,
  ];
  if (options.role === 'client') entries.push(settingEnablePush, 0);
  else entries.push(settingMaxConcurrentStreams, options.maxConcurrentStreams);
  return entries;
}

/** The peer's settings. */
export class PeerSettings {
  maxConcurrentStreams = streamsBeforeSettings;
  initialWindowBytes = initialWindowBytes;
  frameBytesMax = frameBytesMin;
  /** Undefined: the peer has not announced a limit. */
  headerListBytesMax: number | undefined = undefined;
  /** Of the last frame, all of them: a table that was smaller in between has lost its entries. */
  headerTableSizes: number[] = [];
  #hasArrived = false;

  constructor(private readonly role: ConnectionOptions['role']) {}

  /** Applies a SETTINGS frame. Returns the error code for an invalid value; 0: it is valid. */
  apply(payload: Buffer): number {
    if (!this.#hasArrived) {
      this.#hasArrived = true;
      this.maxConcurrentStreams = streamsUnlimited;
    }
    this.headerTableSizes = [];
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      const value = payload.readUInt32BE(at + 2);
      switch (payload.readUInt16BE(at)) {
        case settingHeaderTableSize:
          this.headerTableSizes.push(value);
          break;
        case settingEnablePush:
          // A server must not announce 1 (RFC 9113, section 6.5.2).
          if (value > (this.role === 'client' ? 0 : 1)) return errorCode.protocol;
          break;
        case settingMaxConcurrentStreams:
          this.maxConcurrentStreams = value;
          break;
        case settingInitialWindowSize:
          if (value > windowBytesMax) return errorCode.flowControl;
          this.initialWindowBytes = value;
          break;
        case settingMaxFrameSize:
          if (value < frameBytesMin || value > frameBytesLimit) return errorCode.protocol;
          this.frameBytesMax = value;
          break;
        case settingMaxHeaderListSize:
          this.headerListBytesMax = value;
          break;
      }
    }
    return errorCode.none;
  }
}
