/**
 * The connection to Redis or Valkey. A connection that fails, or whose reply does not come in time, is closed, and another is opened after a
 * pause that grows. While there is none, calls fail at once.
 */
import { createClient } from '@redis/client';
import { errorText } from '../base/errors.js';
import { sleep } from '../base/wait.js';

const connectMsMax = 2_000;
const backoffMs = { min: 50, max: 2_000 } as const;

export interface RedisOptions {
  /** `redis://` or `rediss://` (TLS). A password in it is never logged. */
  readonly url: string;
  /** Both are read at each connection, because passwords are replaced. They go before those of the URL. */
  readonly username?: (() => string | undefined) | undefined;
  readonly password?: (() => string | undefined) | undefined;
  /** Certificates that verify the server of a `rediss://` URL (PEM); undefined: those of Node.js. They count for no other URL. */
  readonly ca?: (() => string | undefined) | undefined;
  /** Time for the reply to a call. */
  readonly replyMsMax: number;
  /** The connection was opened or lost. `why`: the reason. */
  readonly onState: (isUp: boolean, why: string) => void;
}

type Client = ReturnType<typeof connectionOf>;

const connectionOf = ({ url, username, password, ca }: RedisOptions) => {
  const user = username?.();
  const given = password?.();
  const roots = url.startsWith('rediss:') ? ca?.() : undefined;
  return createClient({
    url,
    RESP: 2,
    name: 'weft-rate-limiter',
    disableOfflineQueue: true,
    // A command that Redis 6 does not know, and that the service's user has no right to.
    disableClientInfo: true,
    ...(user === undefined ? {} : { username: user }),
    ...(given === undefined ? {} : { password: given }),
    socket: {
      connectTimeout: connectMsMax,
      reconnectStrategy: false,
      ...(roots === undefined ? {} : ({ tls: true, ca: roots } as const)),
    },
  });
};

export class RedisConnection {
  #client: Client | undefined;
  #stopped = false;
  #failures = 0;

  constructor(private readonly options: RedisOptions) {
    void this.#open();
  }

  get isUp(): boolean {
    return this.#client !== undefined;
  }

  /** Sends a command. Rejects if there is no connection, or if the reply is an error or does not come in time. */
  async call(command: readonly string[]): Promise<unknown> {
    const client = this.#client;
    if (!client) throw new Error('no connection to Redis');
    const { replyMsMax } = this.options;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const error = new Error(`Redis did not reply in ${replyMsMax} ms`);
        // A later reply must not be taken for that of a later call.
        this.#lose(client, error.message);
        reject(error);
      }, replyMsMax);
    });
    try {
      return await Promise.race([client.sendCommand(command), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  stop(): void {
    this.#stopped = true;
    const client = this.#client;
    this.#client = undefined;
    if (client) end(client);
  }

  async #open(): Promise<void> {
    while (!this.#stopped) {
      let client: Client | undefined;
      try {
        const made = (client = connectionOf(this.options));
        // The first error of a connection comes with its rejection or its end.
        made.on('error', (error: unknown) => this.#lose(made, errorText(error)));
        await connected(client);
        if (this.#stopped) return end(client);
        this.#client = client;
        this.#failures = 0;
        made.once('end', () => this.#lose(made, 'the connection was closed'));
        return this.options.onState(true, 'connected');
      } catch (error) {
        if (client) end(client);
        this.options.onState(false, errorText(error));
        const ms = Math.min(backoffMs.max, backoffMs.min * 2 ** this.#failures++);
        await sleep(ms * (0.5 + Math.random() / 2));
      }
    }
  }

  #lose(client: Client, why: string): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    end(client);
    this.options.onState(false, why);
    if (!this.#stopped) void this.#open();
  }
}

/** Connects and authenticates. A server that accepts connections and does not respond fails, too. */
async function connected(client: Client): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Redis did not respond in ${connectMsMax} ms`)), connectMsMax);
  });
  try {
    const connecting = client.connect().then(() => client.ping());
    connecting.catch(() => undefined);
    await Promise.race([connecting, late]);
  } finally {
    clearTimeout(timer);
  }
}

function end(client: Client): void {
  try {
    client.destroy();
  } catch {
    // It was closed already.
  }
}
