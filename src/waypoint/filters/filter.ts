/**
 * What a filter is. A filter reads or changes a request and its response, or responds in the endpoint's place. It is compiled from
 * configuration once and is stateless: what it needs to remember about a request is in a slot of that request.
 */
import type { FairLimit } from '../../base/fair-limit.js';
import type { BackendTarget, RouteFilter } from '../../model/route.js';
import type { Claims } from '../../policy/claims.js';
import type { RegexTime } from '../../policy/regex.js';
import type { ServicePort } from '../authorization/reachable.js';
import type { FieldNames } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';
import type { Downstream, ResponseHead } from '../http/http-stream.js';
import type { BufferedBody } from '../exchange/body-reader.js';
import type { LocalReply } from '../http/local-reply.js';
import type { JwtTokens } from '../jwt/jwt-tokens.js';
import type { WaypointLimit, WaypointLimits } from '../limits.js';
import type { Client } from '../listener/client.js';
import type { ExternalAuthorization } from '../external-authorization/external-authorization.js';
import type { GlobalLimits } from '../rate-limit/global/global-limits.js';
import type { InjectedFaults } from './injected-faults.js';
import type { RateLimits } from '../rate-limit/rate-limits.js';
import type { Shedding } from '../shedding/shedding.js';
import type { ResponseFlag, TrafficAction } from '../telemetry/request-record.js';

/**
 * The stages of a request, in their order. A filter's stage decides when it sees the request; filters of one stage keep the order of their
 * configuration. The stages up to `rbac` come before the route is matched: a client that may not send the request learns nothing about
 * routes, and costs no regular expression.
 */
export const stages = [
  /** Nothing has been done for the request yet: a refusal here is as cheap as possible. */
  'load-shedding',
  'authentication',
  'external-authorization',
  'rbac',
  'local-rate-limit',
  'global-rate-limit',
  'fault-injection',
  /** Filters of the route's rule, then those of the chosen backend. */
  'route',
] as const;
export type Stage = (typeof stages)[number];

/** A response that a filter gives in the endpoint's place. The request is not forwarded, and later filters do not see it. */
export type FilterResponse =
  | { readonly kind: 'reply'; readonly reply: LocalReply }
  /** The request is aborted without a response. `reply`: why, for the log. */
  | { readonly kind: 'reset'; readonly reply: LocalReply }
  | { readonly kind: 'response'; readonly head: ResponseHead; readonly body?: Buffer };

/** Undefined: the request goes on. A promise suspends the request: its body is not read meanwhile. */
export type FilterResult = FilterResponse | undefined | Promise<FilterResponse | undefined>;

export interface Filter {
  onRequest?(request: FilteredRequest): FilterResult;
  /**
   * Changes the head of the response, from an endpoint or from the waypoint itself. Called even if an earlier filter responded, because the
   * headers of a rule are meant for all of its responses. An exception replaces the response by 500.
   */
  onResponse?(request: FilteredRequest, head: ResponseHead): void;
  /** The request has ended. Called once, if `onRequest` let the request go on. */
  onEnd?(request: FilteredRequest): void;
  /** The request has ended while the promise of `onRequest` is pending. Its result is ignored. */
  onCancel?(request: FilteredRequest): void;
}

/** A filter with its place among the others. */
export interface StagedFilter {
  readonly stage: Stage;
  readonly filter: Filter;
  /** `onResponse` is called after that of all other filters. */
  readonly respondsLast?: boolean;
}

/** A kind of filter of routes: src/waypoint/filters has one file for each. */
export interface FilterKind<Config> {
  /** Orders the filter among those of its rule. The rule is matched already, so a stage up to `rbac` comes no earlier than that. */
  readonly stage: Stage;
  readonly respondsLast?: boolean;
  /** Compiles one filter. Error: the configuration cannot be applied, so the rule responds with 500. */
  compile(config: Config): Filter;
  /** Replaces the backends that the filter itself sends requests to. */
  mapBackends?(config: Config, map: (target: BackendTarget) => BackendTarget): Config;
}

type ConfigOf<Kind extends RouteFilter['$case']> = Extract<RouteFilter, { readonly $case: Kind }>['value'];
/** One kind of filter for each member of RouteFilter in weft.proto. */
export type FilterKinds = { readonly [Kind in RouteFilter['$case']]: FilterKind<ConfigOf<Kind>> };

/** The request, as filters see it. They change `downstream.head` in place. */
export interface FilteredRequest {
  readonly context: {
    readonly state: {
      /** The time budget of regular expressions for a client's requests. */
      regexTime(clientNamespace: string): RegexTime;
    };
    readonly rateLimits: RateLimits;
    readonly faults: InjectedFaults;
    readonly limits: WaypointLimits;
    readonly requestShares: FairLimit;
    readonly globalRateLimits?: GlobalLimits | undefined;
    readonly externalAuthorization?: ExternalAuthorization | undefined;
    readonly shedding: Shedding;
    readonly jwt: JwtTokens;
    /** False: `//` in a path is not merged. */
    readonly mergeSlashes: boolean;
    onLimitReached(limit: WaypointLimit): void;
  };
  readonly client: Client;
  readonly downstream: Pick<Downstream, 'head' | 'version' | 'hasBody'>;
  readonly authorization: {
    /** Copies the request's headers once. Called before each change of them. */
    saveHeaders(): void;
    /** The headers that the client sent, before any rule's changes. */
    readonly originalHeaders: Headers;
    /**
     * The head as it is now counts as the one that the client sent. For filters that authenticate the client: policies must neither see its
     * token nor take headers for proven that it made up.
     */
    adoptHead(): void;
    /** The claims of the client's valid token, for policies. */
    claims: Claims | undefined;
    /** Evaluates the policies of the Service. Undefined: the request may go on. */
    ofService(): LocalReply | undefined;
  };
  /** What the log says of the request. */
  readonly info: {
    /** The path that the client sent, without its token. */
    path: string;
    /** `<issuer>/<subject>` of the client's valid token. */
    principal: string | undefined;
    /** A dry run decides while the request goes on. The request's record waits for it, so that it has what the dry run would have done. */
    decidedLater(decision: Promise<void>): void;
  };
  /** The Service port that the client dialed; undefined if it dialed a workload's own address. */
  readonly servicePort: ServicePort | undefined;
  /** The port that the client dialed. */
  readonly dialedPort: number;
  /** The label of the rule that matched, `<namespace>/<route>/<rule>`; undefined before the route is matched, and without routes. */
  readonly routeLabel: string | undefined;
  /** The path prefix that the rule matched by. */
  readonly matchedPrefix: string | undefined;
  /** The HTTP version of the endpoint's response; undefined for the waypoint's own responses. */
  readonly upstreamVersion: 'http1' | 'http2' | undefined;
  /** Why the waypoint responded itself or the response was not completed; undefined if it was, or if the request has not ended. */
  readonly flag: ResponseFlag | undefined;
  /** Values of `Slot`. */
  slots: unknown[] | undefined;
  /** Counts and logs what a traffic policy did to the request. */
  act(action: TrafficAction): void;
  /** Removes fields from the request's trailers, too: some servers take trailers for headers. */
  forbidTrailers(names: Pick<FieldNames, 'removeFrom'>): void;
  /**
   * Called before the request is sent if a rule of another namespace than the Service's may have changed it: what a filter has proven must
   * not be replaced by what the rule's author says.
   */
  afterConsumerRule(restore: () => void): void;
  /** Reads the body's first bytes before the request goes on: they are buffered, and the endpoint gets them as well. */
  bufferBody(bytesMax: number): Promise<BufferedBody>;
  /** A route of the Service's own namespace says that its requests need no decision of a service. */
  isExternalAuthorizationDisabled(): boolean;
  /** Sends a copy of the request to another backend. */
  mirror(target: BackendTarget): void;
}

let slotsMade = 0;

/** A typed value of each request, for what a filter remembers between its calls. Made once, when the filter's file is loaded. */
export class Slot<T> {
  readonly #index = slotsMade++;

  get(request: Pick<FilteredRequest, 'slots'>): T | undefined {
    return request.slots?.[this.#index] as T | undefined;
  }

  set(request: Pick<FilteredRequest, 'slots'>, value: T | undefined): void {
    (request.slots ??= [])[this.#index] = value;
  }
}
