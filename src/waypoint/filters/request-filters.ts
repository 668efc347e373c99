/** Applies a rule's filters to one request and its response. */
import { errorText } from '../../base/errors.js';
import type { BackendTarget, PathChange, RouteFilter } from '../../model/route.js';
import type { RequestAuthorization } from '../authorization/request-authorization.js';
import type { Client } from '../listener/client.js';
import { addCorsHeaders, preflightOf, type CorsFilter } from './cors.js';
import { redirectOf } from './redirect.js';
import { changePath } from './rewrite.js';
import { changeHeaders, type HeaderFilter } from './header-mutation.js';
import { restoreForwarding } from './forwarding-headers.js';
import type { RequestHead, ResponseHead } from '../http/http-stream.js';
import { headerOf, removeHeader } from '../http/headers.js';
import type { LocalReply } from '../http/local-reply.js';
import { normalizePath } from '../../policy/path.js';

/** A response that a filter gives in place of the endpoint. */
type FilterResponse =
  | { readonly kind: 'respond'; readonly head: ResponseHead }
  | { readonly kind: 'refuse'; readonly refusal: LocalReply };

interface FilteredRequest {
  /** The filters change it in place. */
  readonly head: RequestHead;
  readonly client: Client;
  readonly authorization: RequestAuthorization;
  /** The port that the client dialed, for redirects. */
  readonly port: number;
  /** False: `//` in the path is not merged. */
  readonly mergeSlashes: boolean;
  mirror(backend: BackendTarget): void;
}

export class RequestFilters {
  readonly #origin: string | undefined;
  #cors: CorsFilter | undefined;

  constructor(private readonly request: FilteredRequest) {
    this.#origin = headerOf(request.head.headers, 'origin');
  }

  /**
   * Applies the filters to the request. If it returns a response, later filters are not applied and the request is not forwarded.
   * @param prefix the path prefix that the rule matched by
   */
  apply(filters: readonly RouteFilter[], prefix: string | undefined): FilterResponse | undefined {
    const { request } = this;
    const { head } = request;
    for (const filter of filters) {
      switch (filter.kind) {
        case 'request-headers':
          this.#changeHeaders(filter);
          break;
        case 'redirect':
          return { kind: 'respond', head: redirectOf(head, filter, prefix, request.port) };
        case 'rewrite': {
          if (filter.hostname !== undefined) head.authority = filter.hostname;
          const refusal = filter.path && this.#rewritePath(filter.path, prefix);
          if (refusal) return { kind: 'refuse', refusal };
          break;
        }
        case 'cors': {
          const preflight = preflightOf(head, filter);
          // The response to a preflight is complete: no CORS headers are added to it later.
          this.#cors = preflight ? undefined : filter;
          if (preflight) return { kind: 'respond', head: preflight };
          break;
        }
        case 'mirror':
          if (Math.random() * filter.denominator < filter.numerator) request.mirror(filter.backend);
          break;
        case 'response-headers':
          break;
      }
    }
    return undefined;
  }

  /** Applies the filters to a response. `lists`: in the order of application. */
  applyToResponse({ headers }: ResponseHead, ...lists: (readonly RouteFilter[])[]): void {
    for (const filters of lists)
      for (const filter of filters) if (filter.kind === 'response-headers') changeHeaders(headers, filter);
    if (this.#cors) addCorsHeaders(headers, this.#origin, this.#cors);
  }

  /** Rewrites the path. The result is normalized as a client's path is. */
  #rewritePath(change: PathChange, prefix: string | undefined): LocalReply | undefined {
    const { head } = this.request;
    try {
      head.path = normalizePath(changePath(head.path, change, prefix), this.request.mergeSlashes);
      return undefined;
    } catch (error) {
      const why = `the rule's rewrite results in an invalid path: ${errorText(error)}`;
      return { status: 500, flag: 'NC', code: 'WEFT_BACKEND_INVALID', why };
    }
  }

  #changeHeaders(filter: HeaderFilter): void {
    const { head, client, authorization } = this.request;
    authorization.saveHeaders();
    const host = filter.set.find(({ name }) => name === 'host');
    if (host) head.authority = host.value;
    changeHeaders(head.headers, filter);
    removeHeader(head.headers, 'host');
    restoreForwarding(head.headers, client);
  }
}
