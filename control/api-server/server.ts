/**
 * The HTTPS server behind an APIService. It serves GET alone, and only to the API server's front proxy, which it knows by its client certificate
 * and which names the user in headers. Everybody else gets 401.
 */
import { constants } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { errorText, WeftError } from '../../src/base/errors.js';
import { FairLimit } from '../../src/base/fair-limit.js';
import { parseListenAddress } from '../../src/base/listen-address.js';
import { RateLimiter } from '../../src/base/rate-limiter.js';
import type { KeyAndCertificate } from '../../src/tls/issue.js';
import { sendLines } from '../../src/telemetry/line-stream.js';
import { isFrontProxy, userOf, type FrontProxy, type User } from './front-proxy.js';
import type { ApiResponse } from './api-group.js';
import { StatusError } from './status.js';

export const serverLimits = {
  connections: 128,
  handshakeMs: 5_000,
  headMs: 5_000,
  idleMs: 120_000,
  headBytes: 64 << 10,
  underWay: 32,
  responseMs: 15_000,
  perUser: { perSecond: 20, burst: 200 },
} as const;

export interface ApiServerOptions {
  /** ADDR:PORT */
  readonly listen: string;
  readonly certificate: KeyAndCertificate;
  /** Errors: StatusError. */
  readonly respond: (user: User, target: string, accept: string) => Promise<ApiResponse>;
  /** Called for each response with its HTTP status. */
  readonly onResponse: (code: number) => void;
  readonly onLimit: (limit: string) => void;
  readonly log: { warn(fields: object, text: string): void };
  /** How long a client waits for a response to begin. */
  readonly responseMs?: number;
}

export class ApiServer {
  readonly #options: ApiServerOptions;
  readonly #server: https.Server;
  readonly #connections = new FairLimit(serverLimits.connections);
  /** Open connections, including those whose handshake is not over. */
  readonly #sockets = new Set<Socket>();
  readonly #rates = new RateLimiter(serverLimits.perUser, 1_024);
  #certificate: KeyAndCertificate;
  #frontProxy: FrontProxy | undefined;
  #underWay = 0;

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#certificate = options.certificate;
    const server = https.createServer(
      {
        ...this.#context(),
        requestCert: true,
        // The listener responds with 401, which says more than a failed handshake.
        rejectUnauthorized: false,
        ALPNProtocols: ['http/1.1'],
        handshakeTimeout: serverLimits.handshakeMs,
        maxHeaderSize: serverLimits.headBytes,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => void this.#serve(request, response),
    );
    server.headersTimeout = serverLimits.headMs;
    server.requestTimeout = serverLimits.headMs;
    server.keepAliveTimeout = serverLimits.idleMs;
    server.on('connection', (socket: Socket) => {
      const { remoteAddress = '' } = socket;
      if (this.#connections.take(remoteAddress) !== undefined) {
        options.onLimit('metrics-api-connections');
        return void socket.destroy();
      }
      this.#sockets.add(socket);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        this.#connections.release(remoteAddress);
      });
    });
    this.#server = server;
  }

  /** Resolves with the port. Error: WEFT_LISTEN. */
  async start(): Promise<number> {
    const { listen } = this.#options;
    const at = parseListenAddress(listen);
    if (!at) throw new WeftError('WEFT_LISTEN', `${listen} is not ADDR:PORT`);
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause) =>
        reject(new WeftError('WEFT_LISTEN', `cannot listen on ${listen}: ${errorText(cause)}`, { cause })),
      );
      this.#server.listen(at.port, at.host, resolve);
    });
    const bound = this.#server.address();
    return typeof bound === 'object' && bound ? bound.port : at.port;
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Presents another certificate in new handshakes. */
  present(certificate: KeyAndCertificate): void {
    this.#certificate = certificate;
    this.#server.setSecureContext(this.#context());
  }

  /** Whom to believe from now on; undefined: nobody. Connections that began before are closed: the former CA may have verified them. */
  trust(frontProxy: FrontProxy | undefined): void {
    this.#frontProxy = frontProxy;
    this.#server.setSecureContext(this.#context());
    for (const socket of this.#sockets) socket.destroy();
  }

  #context(): https.ServerOptions {
    return {
      key: this.#certificate.keyPem,
      cert: this.#certificate.certPem,
      // Without any, Node would verify clients by the roots of the public web.
      ca: this.#frontProxy?.ca ?? [],
      minVersion: 'TLSv1.2',
      // A resumed session would not be verified by a CA that has changed since.
      secureOptions: constants.SSL_OP_NO_TICKET,
    };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = ''] = (request.url ?? '').split('?');
    // For probes. It says nothing that the listening port does not.
    if (path === '/healthz' && request.method === 'GET')
      return void response.writeHead(200, { 'content-type': 'text/plain', connection: 'close' }).end('ok');
    try {
      const user = this.#userOf(request);
      if (request.method !== 'GET')
        throw new StatusError(
          'MethodNotAllowed',
          `${request.method} is not supported: this API is read by GET`,
        );
      if ('transfer-encoding' in request.headers || Number(request.headers['content-length'] ?? 0) !== 0)
        throw new StatusError('RequestEntityTooLarge', 'a request of this API has no body');
      const {
        body,
        stream,
        warnings = [],
      } = await this.#limited(user, () =>
        this.#options.respond(user, request.url ?? '', request.headers.accept ?? ''),
      );
      if (stream) {
        this.#options.onResponse(200);
        // The reader may be gone already: then nothing would close the stream.
        if (response.destroyed) return stream.close();
        return await sendLines(response, stream);
      }
      const headers = warnings.map((text): [string, string] => ['warning', `299 - ${JSON.stringify(text)}`]);
      this.#send(response, 200, body, headers);
    } catch (error) {
      const status = error instanceof StatusError ? error : this.#failed(error);
      // What has not shown itself as the front proxy keeps no connection.
      const isClosed = status.reason === 'Unauthorized' || status.reason === 'RequestEntityTooLarge';
      this.#send(response, status.code, status.body, [
        ...(isClosed ? [['connection', 'close'] as [string, string]] : []),
        ...(status.retryAfterS === undefined
          ? []
          : [['retry-after', String(status.retryAfterS)] as [string, string]]),
      ]);
    }
  }

  #userOf(request: IncomingMessage): User {
    const frontProxy = this.#frontProxy;
    if (!frontProxy)
      throw new StatusError('Unauthorized', 'the front proxy of the API server is not known yet');
    const socket = request.socket as TLSSocket;
    const refuse = (why: string): StatusError =>
      new StatusError('Unauthorized', `${why}: this API is served through the API server`);
    if (!socket.authorized) throw refuse("no client certificate of the front proxy's CA");
    const { subject, valid_to } = socket.getPeerCertificate();
    // Of several common names, nobody knows which counts.
    const name: unknown = (subject as Partial<typeof subject> | undefined)?.CN;
    if (!isFrontProxy(frontProxy, typeof name === 'string' ? name : undefined))
      throw refuse('the client certificate is of another client than the front proxy');
    if (!(Date.parse(valid_to) > Date.now())) throw refuse('the client certificate has expired');
    const user = userOf(request.headersDistinct, frontProxy);
    if (!user) throw refuse('the front proxy named no user');
    return user;
  }

  async #limited(user: User, respond: () => Promise<ApiResponse>): Promise<ApiResponse> {
    const waitMs = this.#rates.takeOrWait(user.user);
    if (waitMs > 0) {
      this.#options.onLimit('metrics-api-rate');
      throw new StatusError('TooManyRequests', 'too many requests of this user', Math.ceil(waitMs / 1000));
    }
    if (this.#underWay >= serverLimits.underWay) {
      this.#options.onLimit('metrics-api-requests');
      throw new StatusError('TooManyRequests', 'too many requests are under way', 1);
    }
    this.#underWay++;
    let timer: NodeJS.Timeout | undefined;
    const { responseMs = serverLimits.responseMs } = this.#options;
    let isLate = false;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        isLate = true;
        this.#options.onLimit('metrics-api-time');
        reject(new StatusError('Timeout', `no answer within ${responseMs} ms`, 1));
      }, responseMs);
    });
    const answer = respond();
    // It counts until it has ended, also if nobody waits for it anymore.
    void answer
      .then(
        ({ stream }) => {
          // Nobody reads it.
          if (isLate) stream?.close();
        },
        () => undefined,
      )
      .finally(() => this.#underWay--);
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #failed(error: unknown): StatusError {
    this.#options.log.warn({ error: errorText(error) }, 'a request of the aggregated API failed');
    return new StatusError(
      'InternalError',
      'the response could not be made: see the log of the control plane',
    );
  }

  #send(
    response: ServerResponse,
    code: number,
    body: object,
    headers: readonly (readonly [string, string])[],
  ): void {
    this.#options.onResponse(code);
    const text = JSON.stringify(body);
    for (const [name, value] of headers) response.appendHeader(name, value);
    response
      .writeHead(code, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
      .end(text);
  }
}
