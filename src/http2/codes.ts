/** Numbers of the wire format (RFC 9113, sections 6 and 7). */
export const frameData = 0;
export const frameHeaders = 1;
export const framePriority = 2;
export const frameRst = 3;
export const frameSettings = 4;
export const framePushPromise = 5;
export const framePing = 6;
export const frameGoAway = 7;
export const frameWindowUpdate = 8;
export const frameContinuation = 9;

export const flagEndStream = 1;
export const flagAck = 1;
export const flagEndHeaders = 4;
export const flagPadded = 8;
export const flagPriority = 0x20;

export const settingHeaderTableSize = 1;
export const settingEnablePush = 2;
export const settingMaxConcurrentStreams = 3;
export const settingInitialWindowSize = 4;
export const settingMaxFrameSize = 5;
export const settingMaxHeaderListSize = 6;

export const frameHeadBytes = 9;
export const initialWindowBytes = 65_535;
export const windowBytesMax = 0x7fff_ffff;
export const streamIdMax = 0x7fff_ffff;
export const frameBytesMin = 16_384;
export const frameBytesLimit = 0xff_ffff;

/** Error codes of RST_STREAM and GOAWAY (RFC 9113, section 7). */
export const errorCode = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSize: 6,
  refusedStream: 7,
  cancel: 8,
  compression: 9,
  connect: 10,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
  http11Required: 13,
} as const;
