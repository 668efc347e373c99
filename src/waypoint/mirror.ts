/** A copy of a request whose answer nobody reads, and which holds nobody up. */
import type { RouteBackend } from '../model/route.js';
import type { HttpFacts } from '../policy/authorize.js';
import { factsOf, versionOf } from './attributes.js';
import { chooseEndpoint } from './balance.js';
import type { Client } from './client.js';
import { unknownService } from './destination.js';
import type { ProxyContext } from './exchange.js';
import { judge } from './judge.js';
import type { Headers, RequestHead, ResponseHead, Upstream, UpstreamListener } from './message.js';
import type { Endpoint } from './state.js';
import type { Touched } from './touched.js';

export class Mirror implements UpstreamListener {
  #endpoint: Endpoint | undefined;
  #copy: RequestHead | undefined;
  #upstream: Upstream | undefined;
  #early: Buffer[] = [];
  #bytes = 0;
  #ended = false;
  #trailers: Headers | undefined;
  #over = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly context: ProxyContext,
    private readonly client: Client,
    private readonly backend: RouteBackend['target'],
    private readonly request: { readonly isHttp2: boolean; readonly isGrpc: boolean },
    /** The request as the client asked it. */
    private readonly asked: () => HttpFacts,
  ) {}

  /** A mirror is a request to another Service: that Service's policies count for the client, as asked and as sent. */
  #isAllowed(): boolean {
    const { context, client, backend } = this;
    if (!this.#endpoint || !this.#copy || backend.kind !== 'service') return false;
    if (unknownService(context.state, backend) !== undefined) return false;
    const groups = context.state.policies.ofEndpoint(this.#endpoint, backend);
    return (
      groups.length === 0 ||
      (judge(groups, client, this.asked()).allowed && judge(groups, client, factsOf(this.#copy)).allowed)
    );
  }

  isTouched(touched: Touched): boolean {
    const { backend } = this;
    return (
      backend.kind === 'service' && this.#endpoint !== undefined && touched.endpoint(this.#endpoint, backend)
    );
  }

  /** After a change of the mesh. */
  recheck(): void {
    if (!this.#over && this.#endpoint && !this.#isAllowed()) this.cancel();
  }

  begin(head: RequestHead, hasBody: boolean): void {
    const { context, backend, request } = this;
    const endpoint =
      backend.kind === 'service'
        ? chooseEndpoint(
            context.state.endpoints(backend.service, backend.port) ?? [],
            undefined,
            Date.now(),
            Math.random,
          )
        : undefined;
    if (!endpoint) return this.cancel();
    this.#endpoint = endpoint;
    const copy: RequestHead = (this.#copy = { ...head, headers: [...head.headers] });
    if (!this.#isAllowed()) return this.cancel();
    // Nobody waits for it: one that does not move would be forgotten, and its connection with it.
    this.#timer = setTimeout(() => this.cancel(), context.limits.mirrorIdleMsMax);
    this.#timer.unref();
    const version = versionOf(endpoint, request.isHttp2, request.isGrpc);
    context.pool.acquire(endpoint, this.client, version, false, (upstream) => {
      if (!upstream) return this.cancel();
      if (this.#over) return upstream.cancel();
      this.#upstream = upstream;
      upstream.listener = this;
      upstream.send(copy, hasBody, undefined);
      if (!hasBody) return;
      for (const bytes of this.#early) upstream.write(bytes);
      this.#early = [];
      if (this.#ended) upstream.end(this.#trailers);
    });
  }

  write(bytes: Buffer): void {
    if (this.#over) return;
    this.#timer?.refresh();
    if (!this.#upstream) {
      this.#bytes += bytes.length;
      if (this.#bytes > this.context.limits.backlogBytesMax) return this.cancel();
      this.#early.push(bytes);
    } else if (!this.#upstream.write(bytes)) {
      // It would hold up the request itself, or grow without bound.
      this.cancel();
    }
  }
  end(trailers: Headers | undefined): void {
    this.#ended = true;
    this.#trailers = trailers;
    this.#upstream?.end(trailers);
  }
  cancel(): void {
    const upstream = this.#upstream;
    this.#finish();
    upstream?.cancel();
  }
  #finish(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#early = [];
    this.#upstream = undefined;
  }

  onInterim(): void {}
  onHead(_head: ResponseHead, hasBody: boolean): void {
    if (!hasBody) this.onAnswerEnd();
  }
  onUpgraded(): void {
    this.cancel();
  }
  onAnswerData(): void {
    this.#timer?.refresh();
  }
  onAnswerEnd(): void {
    // Answered ahead of the request's end: the rest is of no use to it.
    if (this.#ended) this.#finish();
    else this.cancel();
  }
  onUpstreamDrain(): void {}
  onError(): void {
    this.#finish();
  }
}
