/** An HTTP/2 client with prior knowledge, and an endpoint whose frames are all written by the test. */
import http2 from 'node:http2';
import type { Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { framesOf, frameType, preface, settings, settingsAck } from './http2-frames.js';
import { rawUpstream } from './waypoint.js';

export function connect(t: TestContext, port: number): http2.ClientHttp2Session {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  return session;
}
interface Http2Response {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly interim: number[];
  readonly body: string;
  readonly trailers: http2.IncomingHttpHeaders | undefined;
}
/** Rejects with the error code if the stream was reset. */
export function ask2(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: string | Buffer,
  trailers?: http2.OutgoingHttpHeaders,
): Promise<Http2Response> {
  return new Promise((resolve, reject) => {
    const stream = session.request(
      { ':authority': 'api.shop', ...headers },
      { endStream: body === undefined, waitForTrailers: trailers !== undefined },
    );
    const parts: Buffer[] = [];
    const interim: number[] = [];
    let got: http2.IncomingHttpHeaders = {};
    let gotTrailers: http2.IncomingHttpHeaders | undefined;
    stream.on('headers', (one) => interim.push(Number(one[':status'])));
    stream.on('response', (one) => (got = one));
    stream.on('trailers', (one) => (gotTrailers = one));
    stream.on('wantTrailers', () => stream.sendTrailers(trailers ?? {}));
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('error', reject);
    stream.on('close', () => {
      if (stream.rstCode !== 0) return reject(new Error(`reset ${stream.rstCode}`));
      resolve({
        status: Number(got[':status']),
        headers: got,
        interim,
        body: Buffer.concat(parts).toString('latin1'),
        trailers: gotTrailers,
      });
    });
    if (body !== undefined) stream.end(body);
  });
}
/** An upstream that responds to each request with frames from the test. */
export function frameUpstream(
  t: TestContext,
  respond: (stream: number, socket: Socket) => Buffer,
): Promise<number> {
  return rawUpstream(t, (socket) => {
    let all = Buffer.alloc(0);
    let begun = false;
    socket.write(settings);
    socket.on('data', (bytes: Buffer) => {
      all = Buffer.concat([all, bytes]);
      if (!begun && all.length >= preface.length) {
        begun = true;
        all = all.subarray(preface.length);
        socket.write(settingsAck);
      }
      if (!begun) return;
      for (const { type, stream, payload } of framesOf(all)) {
        if (type === frameType.headers) socket.write(respond(stream, socket));
        all = all.subarray(9 + payload.length);
      }
    });
  });
}
