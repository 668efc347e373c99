/**
 * Authenticates callers before the first byte of a message is read. Until then, HTTP/2 flow control limits each call to one stream window
 * (64 KiB), and the number of calls of a connection that wait for authentication is limited.
 */
import {
  ServerInterceptingCall,
  ServerListenerBuilder,
  status,
  type Metadata,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from '@grpc/grpc-js';
import { errorText, WeftError } from '../../src/base/errors.js';
import { RateLimiter } from '../../src/base/rate-limiter.js';

const callLimits = {
  /** Calls whose token is being checked, per connection on which no call has presented a valid token yet. */
  checkingPerUnauthenticatedMax: 8,
  /** The same, per connection on which a call has presented a valid token. */
  checkingPerConnectionMax: 64,
  /** Calls of all connections whose token is being checked. */
  checkingMax: 1_024,
  /** Longest token in the authorization header. */
  tokenBytesMax: 16 << 10,
  /** Concurrent unary calls of one caller. Further calls wait. */
  servedPerCallerMax: 8,
  waitingPerCallerMax: 1_024,
  /** A unary call that takes longer is ended. Clients set a deadline of 10 s. */
  unaryMsMax: 15_000,
} as const;
/** Rate of unary calls per caller, for certificates and reports together. A starting agent makes one request per identity of its node. */
const callerRate = { perSecond: 50, burst: 1_024 };

export type RefusedCall =
  'no-token' | 'checking' | 'check-failed' | 'connections' | 'rate' | 'waiting' | 'time';

export interface Caller {
  /** A node's name, or `waypoint:<namespace>/<name>`. */
  readonly name: string;
  /** Namespaces whose identities the caller may request; absent: all. */
  readonly namespaces?: readonly string[];
  /** Whether the token is still valid. Called repeatedly while a stream is open. Rejects if the token cannot be checked now. */
  readonly recheck?: () => Promise<boolean>;
}

/**
 * Returns the token's caller, or its name alone; undefined if the token is not valid. Rejects if the token cannot be checked now.
 * @param address the peer's address
 */
export type CallerOfToken = (token: string, address: string) => Promise<Caller | string | undefined>;

export interface AuthenticateOptions {
  readonly callerOfToken: CallerOfToken;
  /** Records the caller of a connection. False if the caller has reached its limit of connections. */
  readonly onAuthenticated: (
    address: string | undefined,
    port: number | undefined,
    caller: string,
  ) => boolean;
  /** Whether no call of the connection has presented a valid token yet. */
  readonly isUnauthenticated: (address: string | undefined, port: number | undefined) => boolean;
  readonly onRefused: (why: RefusedCall, peer: string, error?: string) => void;
}

/** Running and waiting unary calls of one caller. */
interface CallerCalls {
  served: number;
  readonly waiting: Set<() => void>;
}

export class Authenticator {
  readonly #callers = new WeakMap<Metadata, Caller>();
  /** Calls whose token is being checked, by peer address and port. */
  readonly #checking = new Map<string, number>();
  #checkingAll = 0;
  readonly #active = new Map<string, CallerCalls>();
  readonly #rate = new RateLimiter(callerRate);

  constructor(private readonly options: AuthenticateOptions) {}

  /** The caller of a call that has reached its handler. Error: WEFT_INTERNAL, if the interceptor was bypassed. */
  callerOf(metadata: Metadata): Caller {
    const caller = this.#callers.get(metadata);
    if (caller === undefined) throw new WeftError('WEFT_INTERNAL', 'a call was not authenticated');
    return caller;
  }

  /** Number of calls whose token is being checked. */
  get checking(): number {
    return this.#checkingAll;
  }

  readonly interceptor: ServerInterceptor = (method, call) => {
    const ends: (() => void)[] = [];
    let over = false;
    const end = (): void => {
      over = true;
      for (const one of ends.splice(0)) one();
    };
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        void this.#authenticate(call, metadata).then((caller) => {
          if (caller === undefined || over) return;
          this.#callers.set(metadata, caller);
          // Streams have their own limit (control/serve/delta-streams.ts).
          if (method.requestStream) return next(metadata);
          if (!this.#rate.take(caller.name))
            return this.#refuse(call, 'rate', 'call rate limit of this caller reached: call less often');
          this.#inTurn(call, caller.name, ends, () => next(metadata));
        });
      })
      .withOnCancel(end)
      .build();
    return new ServerInterceptingCall(call, {
      start: (next) => next(listener),
      sendStatus: (result, next) => {
        end();
        next(result);
      },
    });
  };

  #refuse(call: ServerInterceptingCallInterface, why: RefusedCall, details: string, error?: string): void {
    const code =
      why === 'no-token'
        ? status.UNAUTHENTICATED
        : why === 'check-failed' || why === 'checking'
          ? status.UNAVAILABLE
          : why === 'time'
            ? status.DEADLINE_EXCEEDED
            : status.RESOURCE_EXHAUSTED;
    this.options.onRefused(why, call.getPeer(), error);
    call.sendStatus({ code, details });
  }

  async #authenticate(
    call: ServerInterceptingCallInterface,
    metadata: Metadata,
  ): Promise<Caller | undefined> {
    const [header] = metadata.get('authorization');
    const token = typeof header === 'string' ? /^Bearer (\S+)$/.exec(header.trim())?.[1] : undefined;
    const refuse = (why: RefusedCall, details: string, error?: string): undefined => {
      this.#refuse(call, why, details, error);
      return undefined;
    };
    const nobody = 'no valid node token: create one with weft token';
    if (token === undefined || token.length > callLimits.tokenBytesMax) return refuse('no-token', nobody);
    const { remoteAddress, remotePort } = call.getConnectionInfo();
    const connection = `${remoteAddress ?? ''} ${remotePort ?? 0}`;
    const already = this.#checking.get(connection) ?? 0;
    const max = this.options.isUnauthenticated(remoteAddress, remotePort)
      ? callLimits.checkingPerUnauthenticatedMax
      : callLimits.checkingPerConnectionMax;
    if (already >= max || this.#checkingAll >= callLimits.checkingMax)
      return refuse('checking', 'too many calls wait for their token to be checked: try again');
    this.#checking.set(connection, already + 1);
    this.#checkingAll++;
    try {
      const found = await this.options.callerOfToken(token, remoteAddress ?? '');
      if (found === undefined) return refuse('no-token', nobody);
      const caller = typeof found === 'string' ? { name: found } : found;
      return this.options.onAuthenticated(remoteAddress, remotePort, caller.name)
        ? caller
        : refuse('connections', 'too many connections of this caller');
    } catch (error) {
      // UNAVAILABLE: the node keeps its resources and retries.
      return refuse('check-failed', 'the token cannot be checked now: try again', errorText(error));
    } finally {
      this.#checkingAll--;
      const left = (this.#checking.get(connection) ?? 1) - 1;
      if (left > 0) this.#checking.set(connection, left);
      else this.#checking.delete(connection);
    }
  }

  /** Limits the concurrent unary calls of a caller, and so the memory that one credential can use. */
  #inTurn(
    call: ServerInterceptingCallInterface,
    name: string,
    ends: (() => void)[],
    begin: () => void,
  ): void {
    let calls = this.#active.get(name);
    if (!calls) this.#active.set(name, (calls = { served: 0, waiting: new Set() }));
    const { waiting } = calls;
    const own = calls;
    const run = (): void => {
      waiting.delete(run);
      own.served++;
      running = true;
      begin();
    };
    let running = false;
    const late = setTimeout(
      () => this.#refuse(call, 'time', 'the call took too long'),
      callLimits.unaryMsMax,
    );
    ends.push(() => {
      clearTimeout(late);
      waiting.delete(run);
      if (running) own.served--;
      const [next] = waiting;
      if (next && own.served < callLimits.servedPerCallerMax) next();
      if (own.served === 0 && waiting.size === 0 && this.#active.get(name) === own) this.#active.delete(name);
    });
    if (own.served < callLimits.servedPerCallerMax) run();
    else if (waiting.size < callLimits.waitingPerCallerMax) waiting.add(run);
    else this.#refuse(call, 'waiting', 'too many calls of this caller wait: call less often');
  }
}
