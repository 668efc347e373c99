/** Detects an undeclared protocol by the client's first bytes. The time is bounded, since in some protocols the server speaks first. */
import type { Duplex } from 'node:stream';

type Detected = 'http1' | 'http2' | 'other';

/** Values of the label `result` of weft_waypoint_protocol_detections_total. */
export type DetectionResult = Detected | 'timeout' | 'closed';

interface Detection {
  readonly protocol: Detected;
  /** The bytes that were read: at most those that decided, and what arrived together with them. */
  readonly bytes: Buffer;
  /** The bytes did not decide in time. */
  readonly isLate: boolean;
}

const preface = 'PRI * HTTP/2.0\r\n';
const methodBytesMax = 24;

/** Pure. 'more': the bytes so far may be the start of HTTP. */
export function detectBytes(bytes: Buffer): Detected | 'more' {
  const text = bytes.toString('latin1', 0, methodBytesMax + 1);
  if (text.startsWith(preface)) return 'http2';
  if (preface.startsWith(text)) return 'more';
  // Empty lines before a request are skipped (RFC 9112, section 2.2).
  const line = text.replace(/^(?:\r\n)+/, '');
  if (/^[A-Z][A-Z-]*(?: (?:h(?:t(?:tp?)?)?)?)?$/.test(line) || line === '' || line === '\r')
    return text.length > methodBytesMax ? 'other' : 'more';
  return /^[A-Z][A-Z-]* (?:[/*]|http)/.test(line) ? 'http1' : 'other';
}

/**
 * Resolves with the protocol and the bytes that were read; the stream is paused then. Resolves with 'other' if the bytes do not decide in
 * time. Rejects if the client closed the connection.
 * @param timeoutMs 0: no limit
 */
export function detect(stream: Duplex, timeoutMs: number): Promise<Detection> {
  return new Promise((resolve, reject) => {
    let all: Buffer = Buffer.alloc(0);
    const finish = (protocol: Detected, isLate = false): void => {
      clearTimeout(timer);
      stream.removeListener('data', onData);
      stream.removeListener('end', onEnd);
      stream.removeListener('close', onClose);
      stream.pause();
      resolve({ protocol, bytes: all, isLate });
    };
    const onData = (bytes: Buffer): void => {
      all = all.length === 0 ? bytes : Buffer.concat([all, bytes]);
      const found = detectBytes(all);
      if (found !== 'more') finish(found);
    };
    const onEnd = (): void => (all.length > 0 ? finish('other') : onClose());
    const onClose = (): void => {
      clearTimeout(timer);
      reject(new Error('the client closed the connection'));
    };
    const timer = timeoutMs > 0 ? setTimeout(() => finish('other', true), timeoutMs) : undefined;
    timer?.unref();
    stream.on('data', onData);
    stream.once('end', onEnd);
    stream.once('close', onClose);
  });
}
