/** The transport of an HTTP/2 connection over a client's or an endpoint's stream. */
import type { Duplex } from 'node:stream';
import type { Transport } from '../../http2/http2.js';
import { SocketTransport } from '../../http2/socket-transport.js';
import { StreamDuplex } from '../../http2/stream-duplex.js';
import { StreamTransport } from '../../http2/stream-transport.js';

/** The stream belongs to the transport from now on. Bytes that were put back (`unshift`) are read first. */
export function transportOf(stream: Duplex): Transport {
  if (stream instanceof StreamDuplex) return new StreamTransport(stream.detach());
  const transport = new SocketTransport(stream);
  // Protocol detection has paused the stream.
  transport.resume();
  return transport;
}
