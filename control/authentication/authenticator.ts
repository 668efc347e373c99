/**
 * Authenticates callers before the first byte of a message is read. Until then HTTP/2 flow control limits each call to one stream window
 * (64 KiB), and the calls of a connection that wait for authentication are limited.
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
  /** Calls whose token is being checked, of a connection none of whose calls has shown a good one yet. */
  checkingPerStrangerMax: 8,
  /** Of another connection. */
  checkingPerConnectionMax: 64,
  /** Calls of all connections whose token is being checked. */
  checkingMax: 1_024,
  /** What the header may hold. */
  tokenBytesMax: 16 << 10,
  /** Unary calls of one caller that are read and served at once; the rest waits. */
  servedPerCallerMax: 8,
  waitingPerCallerMax: 1_024,
  /** A unary call that is longer under way is ended: clients ask for 10 s. */
  unaryMsMax: 15_000,
} as const;
/** Of one caller, certificates and reports together: an agent that starts asks once for each identity of its node. */
const callerRate = { perSecond: 50, burst: 1_024 };

export type RefusedCall =
  'no-token' | 'checking' | 'check-failed' | 'connections' | 'rate' | 'waiting' | 'time';

export interface Caller {
  /** Of a node, or `waypoint:<namespace>/<name>`. */
  readonly name: string;
  /** The only namespaces whose identities it may ask for; absent: no such limit. */
  readonly namespaces?: readonly string[];
  /** Whether the token is still valid: asked again while a stream is open. Errors: it cannot be checked now. */
  readonly recheck?: () => Promise<boolean>;
}

/**
 * The caller that a token names, or its name alone; undefined where the token is not valid. Errors: it cannot be checked now.
 * @param address the peer's
 */
export type CallerOfToken = (token: string, address: string) => Promise<Caller | string | undefined>;

export interface AuthenticateOptions {
  readonly callerOfToken: CallerOfToken;
  /** False where the caller has as many connections as it may. */
  readonly onAuthenticated: (
    address: string | undefined,
    port: number | undefined,
    caller: string,
  ) => boolean;
  /** Of a connection that has shown no good token yet. */
  readonly isStranger: (address: string | undefined, port: number | undefined) => boolean;
  readonly onRefused: (why: RefusedCall, peer: string, error?: string) => void;
}

/** Unary calls of one caller. */
interface CallerCalls {
  served: number;
  readonly waiting: Set<() => void>;
}

export class Authenticator {
  readonly #callers = new WeakMap<Metadata, Caller>();
  /** By peer address and port. */
  readonly #checking = new Map<string, number>();
  #checkingAll = 0;
  readonly #active = new Map<string, CallerCalls>();
  readonly #rate = new RateLimiter(callerRate);

  constructor(private readonly options: AuthenticateOptions) {}

  /** The caller of a call that reached its handler. Error: WEFT_INTERNAL, where the interceptor was bypassed. */
  callerOf(metadata: Metadata): Caller {
    const caller = this.#callers.get(metadata);
    if (caller === undefined) throw new WeftError('WEFT_INTERNAL', 'a call was not authenticated');
    return caller;
  }

  /** Calls whose token is being checked. */
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
          // Streams have a limit of their own (control/serve/delta-streams.ts).
          if (method.requestStream) return next(metadata);
          if (!this.#rate.take(caller.name)) return this.#refuse(call, 'rate', 'too many calls: slower');
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
    const nobody = 'no valid node token: make one by weft token';
    if (token === undefined || token.length > callLimits.tokenBytesMax) return refuse('no-token', nobody);
    const { remoteAddress, remotePort } = call.getConnectionInfo();
    const connection = `${remoteAddress ?? ''} ${remotePort ?? 0}`;
    const already = this.#checking.get(connection) ?? 0;
    const max = this.options.isStranger(remoteAddress, remotePort)
      ? callLimits.checkingPerStrangerMax
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
      // The token could not be checked: the node keeps what it knows and tries again.
      return refuse('check-failed', 'the token cannot be checked now: try again', errorText(error));
    } finally {
      this.#checkingAll--;
      const left = (this.#checking.get(connection) ?? 1) - 1;
      if (left > 0) this.#checking.set(connection, left);
      else this.#checking.delete(connection);
    }
  }

  /** Limits the unary calls of a caller that are read at once, and so the memory that one credential can use. */
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
    else this.#refuse(call, 'waiting', 'too many calls wait: slower');
  }
}
