/** A request of a client's HTTP/2 connection. */
import { errorCode } from '../../http2/codes.js';
import type { Fields, Http2Stream, StreamListener } from '../../http2/http2.js';
import type { Headers } from '../http/headers.js';
import type { Downstream, DownstreamListener, RequestHead, ResponseHead } from '../http/http-stream.js';
import type { WaypointLimits } from '../limits.js';
import { appendFields, blockFault, statusText, trailersOf } from './head.js';

export class Http2Request implements Downstream, StreamListener {
  readonly version = 'HTTP/2';
  readonly upgrade = undefined;
  listener: DownstreamListener | undefined = undefined;

  constructor(
    private readonly stream: Http2Stream,
    readonly head: RequestHead,
    readonly hasBody: boolean,
    private readonly limits: WaypointLimits,
    private readonly connection: { onMalformed(): void },
  ) {
    stream.listener = this;
  }

  onData(bytes: Buffer): void {
    this.listener?.onData(bytes);
  }

  onEnd(trailers: Fields | undefined): void {
    if (trailers === undefined) return this.listener?.onEnd(undefined);
    const tooLarge = blockFault(trailers, this.limits);
    if (tooLarge !== undefined) return this.#malformed(`the request's trailers contain ${tooLarge}`);
    this.listener?.onEnd(trailersOf(trailers));
  }

  onDrain(): void {
    this.listener?.onDrain();
  }

  onReset(): void {
    const { listener } = this;
    this.listener = undefined;
    listener?.onGone('left', 'the client reset the stream');
  }

  onInterim(): void {
    // Only a client's streams have responses.
  }
  onHead(): void {
    // See onInterim.
  }

  #malformed(why: string): void {
    const { listener } = this;
    if (!listener) return;
    listener.onGone('malformed', why);
    this.connection.onMalformed();
  }

  interim({ status, headers }: ResponseHead): void {
    this.stream.interim(appendFields([':status', statusText(status)], headers));
  }

  respond({ status, headers }: ResponseHead, hasBody: boolean): void {
    this.stream.respond(appendFields([':status', statusText(status)], headers), !hasBody);
    if (!hasBody) this.#finish();
  }

  write(bytes: Buffer): boolean {
    return this.stream.write(bytes);
  }

  end(trailers?: Headers): void {
    this.stream.end(trailers && appendFields([], trailers));
    this.#finish();
  }

  /** The response is complete. The rest of the request is not needed, and the client is told so (RFC 9113, section 8.1). */
  #finish(): void {
    if (!this.stream.isRemoteEnded) this.stream.discard();
  }

  upgraded(): void {
    this.abort();
  }

  abort(): void {
    this.stream.reset(errorCode.internal);
  }

  get isPaused(): boolean {
    return this.stream.isPaused;
  }
  pause(): void {
    this.stream.pause();
  }
  resume(): void {
    this.stream.resume();
  }
}
